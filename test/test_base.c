/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * test_base.c - lists, trees, workers and errors against models simple enough to be right.
 */
#include "base.h"

#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <syslog.h>
#include <unistd.h>

static uint64_t seed = 88172645463325252ull;

static uint64_t
rnd(void) /* xorshift: the same run every time */
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed;
}

/* ---- list ---- */

typedef struct item {
    list_node_t link;
    int v;
} item_t;

START_TEST(list_order)
{
    list_t l, m;
    item_t it[6] = {0};

    for (int i = 0; i < 6; i++)
        it[i].v = i;
    list_create(&l, offsetof(item_t, link));
    list_create(&m, offsetof(item_t, link));
    ck_assert_ptr_null(list_head(&l));
    ck_assert_ptr_null(list_tail(&l));
    ck_assert_ptr_null(list_remove_head(&l));
    list_move_tail(&l, &m);
    ck_assert(list_is_empty(&l));
    list_insert_tail(&l, &it[3]);
    list_insert_head(&l, &it[1]);
    list_insert_before(&l, &it[1], &it[0]);
    list_insert_before(&l, &it[3], &it[2]);
    list_insert_tail(&m, &it[4]);
    list_insert_tail(&m, &it[5]);
    ck_assert(list_link_active(&it[4].link));
    list_move_tail(&l, &m);
    ck_assert(list_is_empty(&m));
    int want = 0;
    for (item_t *i = list_head(&l); i != NULL; i = list_next(&l, i))
        ck_assert_int_eq(i->v, want++);
    ck_assert_int_eq(want, 6);
    for (item_t *i = list_tail(&l); i != NULL; i = list_prev(&l, i))
        ck_assert_int_eq(i->v, --want);
    list_remove(&l, &it[2]);
    ck_assert(!list_link_active(&it[2].link));
    ck_assert_ptr_eq(list_next(&l, &it[1]), &it[3]);
    while (list_remove_head(&l) != NULL)
        want++;
    ck_assert_int_eq(want, 5);
    list_destroy(&l);
    list_destroy(&m);
}
END_TEST

/* ---- avl against a table of which keys are in ---- */

#define KEYS 700

typedef struct leaf {
    int pad; /* so that the node is not at offset 0 */
    avl_node_t node;
    int key;
} leaf_t;

static int
leaf_cmp(const void *a, const void *b)
{
    return AVL_CMP(((const leaf_t *)a)->key, ((const leaf_t *)b)->key);
}

/* Height, while checking balances and parents. */
static int
check_node(const avl_node_t *n, const avl_node_t *parent)
{
    if (n == NULL)
        return 0;
    ck_assert_ptr_eq(n->avl_parent, parent);
    int l = check_node(n->avl_child[0], n), r = check_node(n->avl_child[1], n);
    ck_assert_int_eq(n->avl_balance, r - l);
    ck_assert_int_le(abs(r - l), 1);
    return 1 + MAX(l, r);
}

static void
check_walk(avl_tree_t *t, const bool *in)
{
    leaf_t *l = avl_first(t);
    uint64_t n = 0;

    for (int k = 0; k < KEYS; k++) {
        if (!in[k])
            continue;
        ck_assert_ptr_nonnull(l);
        ck_assert_int_eq(l->key, k);
        l = avl_next(t, l);
        n++;
    }
    ck_assert_ptr_null(l);
    ck_assert_uint_eq(avl_numnodes(t), n);
    l = avl_last(t);
    for (int k = KEYS - 1; k >= 0; k--) {
        if (!in[k])
            continue;
        ck_assert_int_eq(l->key, k);
        l = avl_prev(t, l);
    }
    ck_assert_ptr_null(l);
}

static void
check_nearest(avl_tree_t *t, const bool *in, int key, avl_index_t where)
{
    int up = key, down = key;

    while (up < KEYS && !in[up])
        up++;
    while (down >= 0 && !in[down])
        down--;
    leaf_t *after = avl_nearest(t, where, 1), *before = avl_nearest(t, where, 0);
    ck_assert_int_eq(after != NULL ? after->key : KEYS, up);
    ck_assert_int_eq(before != NULL ? before->key : -1, down);
}

START_TEST(avl_model)
{
    static leaf_t leaves[KEYS];
    static bool in[KEYS];
    avl_tree_t t;

    avl_create(&t, leaf_cmp, offsetof(leaf_t, node));
    for (int step = 0; step < 60000; step++) {
        int k = (int)(rnd() % KEYS);
        /* fill, hover, drain, refill: all sizes are seen */
        bool insert = (rnd() % 100) < (step / 10000 % 2 ? 35u : 65u);
        avl_index_t where;
        leaf_t *found = avl_find(&t, &(leaf_t){.key = k}, &where);
        ck_assert_ptr_eq(found, in[k] ? &leaves[k] : NULL);
        if (found == NULL)
            check_nearest(&t, in, k, where);
        if (insert && !in[k]) {
            leaves[k].key = k;
            avl_insert(&t, &leaves[k], where);
            in[k] = true;
        } else if (!insert && in[k]) {
            avl_remove(&t, &leaves[k]);
            in[k] = false;
        }
        if (step % 64 == 0) {
            check_node(t.avl_root, NULL);
            check_walk(&t, in);
        }
    }
    void *cookie = NULL;
    uint64_t n = avl_numnodes(&t);
    for (leaf_t *l; (l = avl_destroy_nodes(&t, &cookie)) != NULL; n--) {
        ck_assert(in[l->key]);
        in[l->key] = false;
        memset(l, 0xa5, sizeof(*l));
    }
    ck_assert_uint_eq(n, 0);
    avl_destroy(&t);
}
END_TEST

START_TEST(avl_ordered_runs)
{
    enum { N = 4096 };
    static leaf_t leaves[N];
    avl_tree_t t;

    avl_create(&t, leaf_cmp, offsetof(leaf_t, node));
    for (int i = 0; i < N; i++) {
        leaves[i].key = i;
        avl_add(&t, &leaves[i]);
    }
    ck_assert_int_le(check_node(t.avl_root, NULL), 13);
    for (int i = 0; i < N; i += 2)
        avl_remove(&t, &leaves[i]);
    check_node(t.avl_root, NULL);
    for (int i = 1; i < N; i += 2) {
        ck_assert_ptr_eq(avl_first(&t), &leaves[i]);
        avl_remove(&t, &leaves[i]);
    }
    avl_destroy(&t);
}
END_TEST

/* ---- taskq ---- */

static void
count(void *arg)
{
    __atomic_fetch_add((uint64_t *)arg, 1, __ATOMIC_RELAXED);
}

static void
slow_count(void *arg)
{
    usleep(1000);
    count(arg);
}

START_TEST(taskq_tasks)
{
    uint64_t n = 0;
    taskq_t *tq = taskq_create("a name longer than the kernel's", 3);

    taskq_wait(tq); /* nothing to wait for */
    for (int i = 0; i < 1000; i++)
        taskq_dispatch(tq, count, &n);
    for (int i = 0; i < 10; i++)
        taskq_dispatch(tq, slow_count, &n);
    taskq_wait(tq);
    ck_assert_uint_eq(__atomic_load_n(&n, __ATOMIC_RELAXED), 1010);
    for (int i = 0; i < 50; i++)
        taskq_dispatch(tq, slow_count, &n);
    taskq_destroy(tq);
    ck_assert_uint_eq(n, 1060);
}
END_TEST

typedef struct sheet {
    taskq_t *tq;
    uint8_t done[5000];
    uint64_t inner;
} sheet_t;

static void
mark(void *arg, uint64_t i)
{
    ((sheet_t *)arg)->done[i]++;
}

static void
inner_step(void *arg, uint64_t i)
{
    count(&((sheet_t *)arg)->inner);
}

static void
outer_step(void *arg, uint64_t i)
{
    taskq_parallel(((sheet_t *)arg)->tq, inner_step, arg, 20);
}

static void
outer_task(void *arg)
{
    outer_step(arg, 0);
}

START_TEST(taskq_loop)
{
    static sheet_t s;

    s.tq = taskq_create("loop", 0);
    for (uint64_t n = 0; n <= 5000; n += 1 + n / 3) {
        memset(s.done, 0, sizeof(s.done));
        taskq_parallel(s.tq, mark, &s, n);
        for (uint64_t i = 0; i < 5000; i++)
            ck_assert_uint_eq(s.done[i], i < n);
    }
    s.inner = 0;
    taskq_parallel(s.tq, outer_step, &s, 100); /* loops in a loop, more than there are workers */
    for (int i = 0; i < 100; i++)
        taskq_dispatch(s.tq, outer_task, &s); /* loops in tasks */
    taskq_wait(s.tq);
    ck_assert_uint_eq(s.inner, 200 * 20);
    taskq_destroy(s.tq);
}
END_TEST

static void *
loop_thread(void *arg)
{
    sheet_t *s = xzalloc(sizeof(*s));

    s->tq = arg;
    for (int round = 0; round < 200; round++) {
        memset(s->done, 0, sizeof(s->done));
        taskq_parallel(s->tq, mark, s, 300);
        for (int i = 0; i < 300; i++)
            VERIFY(s->done[i] == 1);
    }
    free(s);
    return NULL;
}

START_TEST(taskq_many_callers)
{
    taskq_t *tq = taskq_create("many", 2);
    pthread_t th[8];

    for (int i = 0; i < 8; i++)
        VERIFY0(pthread_create(&th[i], NULL, loop_thread, tq));
    for (int i = 0; i < 8; i++)
        VERIFY0(pthread_join(th[i], NULL));
    taskq_destroy(tq);
}
END_TEST

/* ---- the rest ---- */

static char last_line[64];

static void
keep_line(int level, const char *line)
{
    snprintf(last_line, sizeof(last_line), "%d %s", level, line);
}

START_TEST(errors_and_log)
{
    ck_assert_int_eq(SET_ERROR(ENOSPC), ENOSPC);
    ck_assert_str_eq(cowbird_strerror(ECKSUM), "checksum mismatch");
    ck_assert_str_eq(cowbird_strerror(ENOENT), "No such file or directory");
    ck_assert_str_eq(cowbird_strerror(99999), "unknown error");
    cowbird_log_set_sink(keep_line);
    cowbird_log(LOG_WARNING, "%s %d", "block", 7);
    cowbird_log_set_sink(NULL);
    ck_assert_str_eq(last_line, "4 block 7");
}
END_TEST

START_TEST(small_things)
{
    kmutex_t m;
    kcondvar_t cv;
    uint8_t *p = xmemalign(5000);

    ck_assert_uint_eq((uintptr_t)p % 4096, 0);
    free(p);
    ck_assert_int_eq(highbit64(0), 0);
    ck_assert_int_eq(highbit64(1), 1);
    ck_assert_int_eq(highbit64(1ull << 63), 64);
    ck_assert_uint_ne(random_u64(), random_u64());
    mutex_init(&m);
    cv_init(&cv);
    mutex_enter(&m);
    uint64_t t = gethrtime();
    ck_assert(!cv_timedwait_ms(&cv, &m, 20));
    ck_assert_uint_ge(gethrtime() - t, 20 * 1000000);
    mutex_exit(&m);
    cv_destroy(&cv);
    mutex_destroy(&m);
}
END_TEST

START_TEST(verify_aborts)
{
    VERIFY3U(1, ==, 2);
}
END_TEST

int
main(void)
{
    Suite *s = suite_create("base");
    TCase *tc = tcase_create("base");

    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, list_order);
    tcase_add_test(tc, avl_model);
    tcase_add_test(tc, avl_ordered_runs);
    tcase_add_test(tc, taskq_tasks);
    tcase_add_test(tc, taskq_loop);
    tcase_add_test(tc, taskq_many_callers);
    tcase_add_test(tc, errors_and_log);
    tcase_add_test(tc, small_things);
    tcase_add_test_raise_signal(tc, verify_aborts, SIGABRT);
    suite_add_tcase(s, tc);
    SRunner *r = srunner_create(s);
    srunner_run_all(r, CK_ENV);
    int failed = srunner_ntests_failed(r);
    srunner_free(r);
    return failed != 0;
}
