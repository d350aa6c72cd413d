#include "cli/filter.h"

#include "base/descriptor.h"
#include "cli/front_rules.h"
#include "cli/init_rules.h"
#include "cli/keeper_rules.h"
#include "cli/worker_rules.h"
#include "kernel/landlock.h"

#include <assert.h>
#include <errno.h>
#include <linux/seccomp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the low half of an argument stands first, see values_write");

/* A call's number; __NR_SCMP_ERROR if this libseccomp doesn't know it; a negative stand-in if this architecture doesn't have it. */
static int call_resolve(const char *name, int number)
{
    int call = seccomp_syscall_resolve_name(name);
    return call == __NR_SCMP_ERROR && number > 0 ? number : call;
}

static int call_add(scmp_filter_ctx filter, uint32_t action, int call, unsigned count, const struct scmp_arg_cmp *compare)
{
    if (call == __NR_SCMP_ERROR)
        return 0; /* a call younger than the library gets the default */
    int r = seccomp_rule_add_array(filter, action, call, count, compare);
    return r == -EDOM ? 0 : r; /* EDOM: not a call of this architecture */
}

static int calls_add(scmp_filter_ctx filter, const char *const *names, size_t count, struct fault *why)
{
    for (size_t i = 0; i < count; i++) {
        int r = call_add(filter, SCMP_ACT_ALLOW, call_resolve(names[i], 0), 0, NULL);
        if (r < 0)
            return fault_set(why, -r, "seccomp_rule_add", names[i]);
    }
    return 0;
}

/* One rule each for no bit set, which is allowed, and for each bit that is. */
static int bits_add(scmp_filter_ctx filter, int call, unsigned argument, uint64_t mask, uint32_t refused)
{
    struct scmp_arg_cmp none = SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, mask, 0);
    int r = call_add(filter, SCMP_ACT_ALLOW, call, 1, &none);
    for (uint64_t bit = 1; r == 0 && bit != 0; bit <<= 1)
        if ((mask & bit) != 0) {
            struct scmp_arg_cmp set = SCMP_CMP(argument, SCMP_CMP_MASKED_EQ, bit, bit);
            r = call_add(filter, refused, call, 1, &set);
        }
    return r;
}

/* Whether the filter that all of the keeper's descendants have lets the call through. It lies below the worker's, and of two answers the
 * kernel takes the harder one (seccomp(2)): an error there is harder than a word to the listener. */
static bool keeper_allows(const char *name)
{
    for (size_t i = 0; i < COUNT(KEEPER_CALLS); i++)
        if (strcmp(KEEPER_CALLS[i], name) == 0)
            return true;
    for (size_t i = 0; i < COUNT(WORKER_RULES); i++)
        if (strcmp(WORKER_RULES[i].name, name) == 0 && WORKER_RULES[i].answer == ANSWER_ALLOW)
            return true;
    return false;
}

/* Whether the front is to hear of it, and to answer EPERM, or for sockets EACCES, in its turn. A front in a stranger's hands could let such
 * a call go on; what would be worst of all is refused by the filter below, and never comes here. */
static bool refusal_is_told(const struct plan *plan, const char *name, int error)
{
    bool is_socket = strcmp(name, "socket") == 0 || strcmp(name, "socketpair") == 0;
    return plan->notify && error == (is_socket ? EACCES : EPERM) && keeper_allows(name);
}

static uint32_t refusal(const struct plan *plan, const char *name, int error)
{
    return refusal_is_told(plan, name, error) ? SCMP_ACT_NOTIFY : SCMP_ACT_ERRNO((uint32_t)error);
}

static int rule_add(scmp_filter_ctx filter, const struct syscall_rule *rule, const struct plan *plan)
{
    int call = call_resolve(rule->name, rule->number);
    uint32_t action = rule->answer == ANSWER_ALLOW ? SCMP_ACT_ALLOW : refusal(plan, rule->name, rule->answer);
    struct scmp_arg_cmp compare = SCMP_CMP(rule->argument, SCMP_CMP_EQ, rule->value, 0);
    switch (rule->test) {
    case TEST_NONE:
        return call_add(filter, action, call, 0, NULL);
    case TEST_NO_BIT:
        return bits_add(filter, call, rule->argument, rule->mask, refusal(plan, rule->name, EPERM));
    case TEST_DIFFERS:
        compare.op = SCMP_CMP_NE;
        break;
    case TEST_MASKED:
        compare = SCMP_CMP(rule->argument, SCMP_CMP_MASKED_EQ, rule->mask, rule->value);
        break;
    case TEST_EQUAL:
        break;
    }
    return call_add(filter, action, call, 1, &compare);
}

static int keeper_rules_add(scmp_filter_ctx filter, struct fault *why)
{
    for (size_t i = 0; i < COUNT(WORKER_RULES); i++) {
        if (WORKER_RULES[i].answer != ANSWER_ALLOW)
            continue;
        int r = call_add(filter, SCMP_ACT_ALLOW, call_resolve(WORKER_RULES[i].name, WORKER_RULES[i].number), 0, NULL);
        if (r < 0)
            return fault_set(why, -r, "seccomp_rule_add", WORKER_RULES[i].name);
    }
    return calls_add(filter, KEEPER_CALLS, COUNT(KEEPER_CALLS), why);
}

static int rules_add(scmp_filter_ctx filter, enum filter_for which, const struct plan *plan, struct fault *why)
{
    if (which == FILTER_INIT)
        return calls_add(filter, INIT_ALLOWED, COUNT(INIT_ALLOWED), why);
    if (which == FILTER_FRONT)
        return calls_add(filter, FRONT_CALLS, COUNT(FRONT_CALLS), why);
    if (which == FILTER_KEEPER)
        return keeper_rules_add(filter, why);
    for (size_t i = 0; i < COUNT(WORKER_RULES); i++) {
        int r = rule_add(filter, &WORKER_RULES[i], plan);
        if (r < 0)
            return fault_set(why, -r, "seccomp_rule_add", WORKER_RULES[i].name);
    }
    return 0;
}

enum {
    VALUES = COUNT(WORKER_VALUES[0].values),
    VALUES_BLOCK = VALUES + 6, /* instructions for one row */
    VALUES_MOST =
        (COUNT(WORKER_VALUES) + COUNT(CONTAINED_VALUES) + COUNT(UNGROUPED_VALUES) + COUNT(UNSCOPED_VALUES) + COUNT(ALONE_VALUES)) *
        VALUES_BLOCK,
};

/* An unconditional rule of libseccomp's swallows those that look at an argument, and "all but these" can't be said in its terms. So what is
 * refused of such calls stands before its program, by hand. It needn't ask for the architecture: all it can say is no, and the program that
 * follows kills the others. */
static size_t values_write(struct sock_filter *to, const struct values_refused *rows, size_t count, const struct plan *plan)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        const struct values_refused *refused = &rows[i];
        bool none_of = refused->test == VALUES_NONE_OF;
        uint32_t answer = refused->answer == ANSWER_DONE ? 0 : (uint32_t)(refused->answer != 0 ? refused->answer : EPERM);
        uint16_t jump = refused->test == VALUES_FROM ? BPF_JMP | BPF_JGE | BPF_K : BPF_JMP | BPF_JEQ | BPF_K;
        uint32_t call = (uint32_t)call_resolve(refused->name, strcmp(refused->name, "fchmodat2") == 0 ? 452 : 0);
        uint32_t low_half = (uint32_t)(offsetof(struct seccomp_data, args) + refused->argument * sizeof(uint64_t));
        to[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
        to[at++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, VALUES_BLOCK - 2); /* else to the next row */
        to[at++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, low_half);
        to[at++] = (struct sock_filter)BPF_STMT(BPF_ALU | BPF_AND | BPF_K, refused->mask);
        for (int v = 0; v < VALUES; v++)
            to[at++] = (struct sock_filter)BPF_JUMP(jump, refused->values[v], (unsigned char)(VALUES - v + none_of), 0);
        to[at++] = (struct sock_filter)BPF_STMT(BPF_JMP | BPF_JA, none_of ? 0 : 1); /* to the answer, or to the next row */
        bool told = refusal_is_told(plan, refused->name, (int)answer);
        to[at++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, told ? SECCOMP_RET_USER_NOTIF : SECCOMP_RET_ERRNO | answer);
    }
    assert(at == count * VALUES_BLOCK);
    return at;
}

/* What stands before a worker's program, at this level. */
static size_t values_all(struct sock_filter *to, const struct plan *plan)
{
    size_t at = values_write(to, WORKER_VALUES, COUNT(WORKER_VALUES), plan);
    if (plan->group[GROUP_MEMORY][0] == '\0')
        at += values_write(to + at, UNGROUPED_VALUES, COUNT(UNGROUPED_VALUES), plan);
    if (plan->level != LEVEL_CONTAINED)
        return at;
    at += values_write(to + at, CONTAINED_VALUES, COUNT(CONTAINED_VALUES), plan);
    if (plan->landlock_abi < LANDLOCK_SCOPES)
        at += values_write(to + at, UNSCOPED_VALUES, COUNT(UNSCOPED_VALUES), plan);
    return plan->uids ? at : at + values_write(to + at, ALONE_VALUES, COUNT(ALONE_VALUES), plan);
}

static int program_export(scmp_filter_ctx filter, const struct plan *worker, struct sock_filter **ret_program, size_t *ret_length,
                          struct fault *why)
{
    OWN_FD file = memfd_create("filter", MFD_CLOEXEC);
    if (file < 0)
        return fault_set(why, errno, "memfd_create", "filter");
    int r = seccomp_export_bpf(filter, file);
    if (r < 0)
        return fault_set(why, -r, "seccomp_export_bpf", "filter");
    off_t size = lseek(file, 0, SEEK_END);
    if (size <= 0 || (size_t)size % sizeof(struct sock_filter) != 0)
        return fault_set(why, EIO, "lseek", "filter");
    struct sock_filter values[VALUES_MOST];
    size_t before = worker != NULL ? values_all(values, worker) : 0;
    size_t length = before + (size_t)size / sizeof(struct sock_filter);
    if (length > BPF_MAXINSNS)
        return fault_set(why, E2BIG, "seccomp_export_bpf", "filter");
    struct sock_filter *program = calloc(length, sizeof *program);
    if (program == NULL)
        return fault_set(why, ENOMEM, "calloc", "filter");
    memcpy(program, values, before * sizeof *program);
    if (pread(file, program + before, (size_t)size, 0) != size) {
        free(program);
        return fault_set(why, EIO, "pread", "filter");
    }
    *ret_program = program;
    *ret_length = length;
    return 0;
}

int filter_compile(enum filter_for which, const struct plan *plan, struct sock_filter **ret_program, size_t *ret_length, struct fault *why)
{
    /* libseccomp asks the kernel what answers it knows, and gVisor doesn't say; it does know those that are used. 5: with notifications. */
    int r = seccomp_api_set(5);
    if (r < 0)
        return fault_set(why, -r, "seccomp_api_set", "filter");
    scmp_filter_ctx filter =
        seccomp_init(which == FILTER_WORKER || which == FILTER_KEEPER ? SCMP_ACT_ERRNO(ENOSYS) : SCMP_ACT_KILL_PROCESS);
    if (filter == NULL)
        return fault_set(why, ENOMEM, "seccomp_init", "filter");
    /* Another architecture's calls (int 0x80, x32) have other numbers: an attack, and its end. The default would kill the thread alone. */
    r = seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
    if (r < 0)
        r = fault_set(why, -r, "seccomp_attr_set", "SCMP_FLTATR_ACT_BADARCH");
    if (r == 0) {
        r = seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: some ten steps for each call, not three hundred */
        if (r < 0)
            r = fault_set(why, -r, "seccomp_attr_set", "SCMP_FLTATR_CTL_OPTIMIZE");
    }
    if (r == 0)
        r = rules_add(filter, which, plan, why);
    if (r == 0)
        r = program_export(filter, which == FILTER_WORKER ? plan : NULL, ret_program, ret_length, why);
    seccomp_release(filter);
    return r;
}
