/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * receive_name.c - where a stream goes.
 *
 * The stream says what it was: pool/a/b@s. What the sender named on its command line is the top; in a package streams
 * below it keep their place below the target.
 *
 *                       target T            -d                       -e
 *   pool/a@s            T@s                 T/a@s                    T/a@s
 *   pool/a/b@s          T@s                 T/a/b@s                  T/b@s
 *   the same, top /a    T/b@s               T/a/b@s                  T/a/b@s
 *   pool@s              T@s                 T@s                      T/pool@s
 *   T = fs@snap         fs@snap             -                        -
 *
 * That is where it is unless it was renamed: a file system that is not there is looked for by its snapshot's guid, a new one's parent
 * likewise. Both below the target only: the sender may be in the same pool, and has the same snapshots. The origin of a clone is only
 * read, so it may be anywhere in the pool; the nearest one is taken.
 *
 * ZFS: zfs_receive_one(), guid_to_name() in libzfs_sendrecv.c
 */
#include <stdio.h>

#include "receive_impl.h"

int
receive_map_name(receive_t *rc, const char *sent, char *fs)
{
    const char *target = rc->rc_args->dra_target, *slash = strrchr(rc->rc_top, '/'), *kept, *between = "";
    size_t top = strlen(rc->rc_top);

    if (strncmp(sent, rc->rc_top, top) != 0 || (sent[top] != '\0' && sent[top] != '/'))
        return FAIL(rc, EINVAL, "the stream of %s does not belong into the package of %s", sent, rc->rc_top);
    if (rc->rc_args->dra_drop_first) {
        kept = sent + strcspn(sent, "/");
    } else if (rc->rc_args->dra_use_last) {
        kept = slash != NULL ? sent + (slash - rc->rc_top) : sent;
        between = slash != NULL ? "" : "/";
    } else {
        kept = sent + top;
    }
    int n =
        snprintf(fs, ZFS_MAX_DATASET_NAME_LEN, "%.*s%s%s", (int)strcspn(target, "@"), target, between, kept);
    return n < ZFS_MAX_DATASET_NAME_LEN ? 0 : FAIL(rc, ENAMETOOLONG, "the name below %s is too long", target);
}

/* A target with '@' names the one snapshot there is. */
int
receive_check_target(receive_t *rc)
{
    const dmu_receive_args_t *args = rc->rc_args;

    if (strchr(args->dra_target, '@') == NULL)
        return 0;
    if (args->dra_use_last || args->dra_drop_first)
        return FAIL(rc, EINVAL, "a snapshot cannot be the target with -%c", args->dra_use_last ? 'e' : 'd');
    if (rc->rc_list != NULL && (rc->rc_list->rl_list == NULL || rc->rc_list->rl_recursive))
        return FAIL(rc, EINVAL, "a snapshot cannot be the target of a stream with several snapshots");
    return 0;
}

bool
receive_exists(receive_t *rc, const char *name)
{
    dsl_dataset_t *ds;

    if (rc->rc_dry != NULL && nvlist_exists(rc->rc_dry, name))
        return true;
    if (dsl_dataset_hold(rc->rc_dp, name, rc, &ds) != 0)
        return false;
    dsl_dataset_rele(ds, rc);
    return true;
}

int
receive_find_origin(receive_t *rc, uint64_t guid, char *snap)
{
    char at[ZFS_MAX_DATASET_NAME_LEN];
    int err = SET_ERROR(ENOENT);

    strcpy(at, rc->rc_fs);
    for (char *slash = at; slash != NULL && err == ENOENT; slash = strrchr(at, '/')) {
        if (slash != at)
            *slash = '\0';
        err = guid != 0 ? find_by_guid_below(rc->rc_dp, at, guid, true, snap) : SET_ERROR(ENOENT);
    }
    return err;
}

void
receive_move(receive_t *rc, uint64_t guid, bool below)
{
    char root[ZFS_MAX_DATASET_NAME_LEN], found[ZFS_MAX_DATASET_NAME_LEN], whole[2 * ZFS_MAX_DATASET_NAME_LEN];
    const char *target = rc->rc_args->dra_target;

    snprintf(root, sizeof(root), "%.*s", (int)strcspn(target, "@"), target);
    if (guid == 0 || find_by_guid_below(rc->rc_dp, root, guid, true, found) != 0)
        return;
    snprintf(whole, sizeof(whole), "%.*s%s", (int)strcspn(found, "@"), found,
             below ? strrchr(rc->rc_fs, '/') : "");
    if (strlen(whole) < sizeof(rc->rc_fs))
        strcpy(rc->rc_fs, whole);
}
