/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * base.h - what every layer stands on: error marks, assertions, locks, lists, trees, workers.
 *
 * Three grades of failure, never mixed:
 *
 *   bad bytes from a disk, a stream or a user   return an errno (SET_ERROR marks its origin)
 *   a broken rule of our own, cheap to check    ASSERT: debug builds only
 *   going on would corrupt the pool             VERIFY: always; prints and aborts
 *
 * Functions return 0 or a positive errno, as in ZFS. Results come back through out-parameters.
 */
#ifndef COWBIRD_BASE_H
#define COWBIRD_BASE_H

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

/* ---- errors ---- */

/* ZFS's two own errors, under the numbers OpenZFS gives them on Linux. */
#define ECKSUM EBADE /* a checksum does not match: the data is damaged */
#define EFRAGS EBADR /* no free run is long enough */

/* Every origin of an error passes through SET_ERROR; COWBIRD_TRACE_ERRORS=1 in the environment prints file:line. */
#define SET_ERROR(err)                                                                             \
    ({                                                                                             \
        int set_err_ = (err); /* the compiler sees that it is not 0 */                             \
        set_error_at(set_err_, __FILE__, __LINE__, __func__);                                      \
        set_err_;                                                                                  \
    })
int set_error_at(int err, const char *file, int line, const char *func);

/* One line for people: strerror() plus ECKSUM and EFRAGS. */
const char *cowbird_strerror(int err);

/* Messages of long-running parts; the default sink is stderr. level: LOG_ERR .. LOG_DEBUG of <syslog.h>. */
void cowbird_log(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cowbird_log_set_sink(void (*sink)(int level, const char *line));

/* ---- assertions ---- */

__attribute__((noreturn)) void verify_failed(const char *expr, uint64_t l, uint64_t r, const char *file, int line);

#define VERIFY(x)                                                                                  \
    do {                                                                                           \
        if (__builtin_expect(!(x), 0))                                                             \
            verify_failed(#x, 0, 0, __FILE__, __LINE__);                                           \
    } while (0)
#define VERIFY3U(a, op, b)                                                                         \
    do {                                                                                           \
        uint64_t va_ = (uint64_t)(a), vb_ = (uint64_t)(b);                                         \
        if (__builtin_expect(!(va_ op vb_), 0))                                                    \
            verify_failed(#a " " #op " " #b, va_, vb_, __FILE__, __LINE__);                        \
    } while (0)
#define VERIFY0(x) VERIFY3U((x), ==, 0)

#ifdef NDEBUG
#define ASSERT(x)          ((void)sizeof(x))
#define ASSERT3U(a, op, b) ((void)sizeof((a)op(b)))
#define ASSERT0(x)         ((void)sizeof(x))
#else
#define ASSERT(x)          VERIFY(x)
#define ASSERT3U(a, op, b) VERIFY3U(a, op, b)
#define ASSERT0(x)         VERIFY0(x)
#endif

/* ---- arithmetic ---- */

/* Each operand is evaluated once: a call may stand there. Not for constant expressions. */
#define MIN(a, b)          PICK_NUMBERED(a, <, b, __COUNTER__)
#define MAX(a, b)          PICK_NUMBERED(a, >, b, __COUNTER__)
#define PICK_NUMBERED(a, op, b, n) PICK(a, op, b, n) /* a number of its own, so that they nest */
#define PICK(a, op, b, n)                                                                                    \
    ({                                                                                                       \
        __typeof__((a) + (b)) pick_a_##n = (a), pick_b_##n = (b);                                            \
        pick_a_##n op pick_b_##n ? pick_a_##n : pick_b_##n;                                                  \
    })
#define P2ROUNDUP(x, a)    (((x) + ((a)-1)) & ~((__typeof__(x))(a)-1))
#define P2ALIGN(x, a)      ((x) & ~((__typeof__(x))(a)-1))
#define ISP2(x)            ((x) != 0 && ((x) & ((x)-1)) == 0)
#define ARRAY_SIZE(a)      (sizeof(a) / sizeof((a)[0]))
#define container_of(p, type, member) ((type *)((char *)(p)-offsetof(type, member)))
static inline int
highbit64(uint64_t x) /* 1-based position of the highest bit set; 0 for 0 */
{
    return x == 0 ? 0 : 64 - __builtin_clzll(x);
}

/* Pools are little-endian and so are the machines we run on; only streams and labels may be foreign. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "Cowbird runs on little-endian machines");

/* ---- memory: allocation failure ends the process, as an allocation of a few KiB never fails in practice ---- */

void *xmalloc(size_t n);
void *xzalloc(size_t n);
void *xrealloc(void *p, size_t n);
char *xstrdup(const char *s);
char *xasprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Page-aligned buffers for block data, so that they can go to disk directly. Free with free(). */
void *xmemalign(size_t n);

/* Fill with random bytes from the kernel (guids, salts). */
void random_bytes(void *p, size_t n);
uint64_t random_u64(void);  /* never 0 */
uint64_t gethrtime(void);   /* ns, monotonic */

/* ---- locks: pthreads, under names short enough to read; a failing lock call is a VERIFY ---- */

typedef pthread_mutex_t kmutex_t;
typedef pthread_cond_t kcondvar_t;
typedef pthread_rwlock_t krwlock_t;

void mutex_init(kmutex_t *m);
void mutex_destroy(kmutex_t *m);
void mutex_enter(kmutex_t *m);
void mutex_exit(kmutex_t *m);
void cv_init(kcondvar_t *cv); /* on the monotonic clock */
void cv_destroy(kcondvar_t *cv);
void cv_wait(kcondvar_t *cv, kmutex_t *m);
bool cv_timedwait_ms(kcondvar_t *cv, kmutex_t *m, uint64_t ms); /* false when the time ran out */
void cv_signal(kcondvar_t *cv);
void cv_broadcast(kcondvar_t *cv);
void rw_init(krwlock_t *rw);
void rw_destroy(krwlock_t *rw);
void rw_enter_read(krwlock_t *rw);
void rw_enter_write(krwlock_t *rw);
void rw_exit(krwlock_t *rw);

/* ---- list.c: intrusive doubly linked lists ---- */

typedef struct list_node {
    struct list_node *ln_next, *ln_prev; /* NULL when on no list */
} list_node_t;

typedef struct list {
    size_t l_offset; /* of the list_node_t in an element */
    list_node_t l_head;
} list_t;

void list_create(list_t *l, size_t offset);
void list_destroy(list_t *l); /* must be empty */
bool list_is_empty(const list_t *l);
bool list_link_active(const list_node_t *n); /* on a list? (a zeroed node is on none) */
void *list_head(const list_t *l);
void *list_tail(const list_t *l);
void *list_next(const list_t *l, const void *elem);
void *list_prev(const list_t *l, const void *elem);
void list_insert_head(list_t *l, void *elem);
void list_insert_tail(list_t *l, void *elem);
void list_insert_before(list_t *l, void *at, void *elem);
void list_remove(list_t *l, void *elem);
void *list_remove_head(list_t *l);             /* NULL when empty */
void list_move_tail(list_t *dst, list_t *src); /* all of src, in order, to the end of dst */

/* ---- avl.c: intrusive balanced trees ---- */

typedef struct avl_node {
    struct avl_node *avl_child[2], *avl_parent;
    int8_t avl_balance;
} avl_node_t;

typedef struct avl_tree {
    avl_node_t *avl_root;
    int (*avl_compare)(const void *, const void *); /* <0, 0, >0 */
    size_t avl_offset;                              /* of the avl_node_t in an element */
    uint64_t avl_numnodes;
} avl_tree_t;

typedef struct avl_index {
    avl_node_t *ai_parent; /* where a failed avl_find() would have hung the element */
    int ai_child;
} avl_index_t;

#define AVL_CMP(a, b) (((a) > (b)) - ((a) < (b)))

void avl_create(avl_tree_t *t, int (*compare)(const void *, const void *), size_t offset);
void avl_destroy(avl_tree_t *t); /* must be empty */
void *avl_find(avl_tree_t *t, const void *key, avl_index_t *where); /* where may be NULL */
void avl_insert(avl_tree_t *t, void *elem, avl_index_t where);
void avl_add(avl_tree_t *t, void *elem); /* must not be there yet */
void avl_remove(avl_tree_t *t, void *elem);
void *avl_first(avl_tree_t *t);
void *avl_last(avl_tree_t *t);
void *avl_next(avl_tree_t *t, void *elem); /* AVL_NEXT */
void *avl_prev(avl_tree_t *t, void *elem);
/* The nearest element after (dir 1) or before (dir 0) a position that avl_find() did not match. */
void *avl_nearest(avl_tree_t *t, avl_index_t where, int dir);
uint64_t avl_numnodes(const avl_tree_t *t);
/* Take the tree apart: call with *cookie NULL first; returns each element once, then NULL; tree is empty after. */
void *avl_destroy_nodes(avl_tree_t *t, void **cookie);

/* ---- taskq.c: worker threads ---- */

typedef struct taskq taskq_t;

taskq_t *taskq_create(const char *name, int nthreads); /* nthreads 0: one per core */
void taskq_destroy(taskq_t *tq);                       /* waits for what was dispatched */
void taskq_dispatch(taskq_t *tq, void (*fn)(void *), void *arg);
void taskq_wait(taskq_t *tq); /* until everything dispatched so far is done */
/* fn(arg, i) for i in 0..n-1 on the workers and the calling thread; returns when all are done. */
void taskq_parallel(taskq_t *tq, void (*fn)(void *arg, uint64_t i), void *arg, uint64_t n);

#endif
