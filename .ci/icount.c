/* A plugin for qemu-user 7.2 that counts the aarch64 instructions a program executes, in all and by class.
 *
 *     gcc -O2 -fPIC -shared -o libicount.so icount.c          no header and no source of QEMU is needed
 *     qemu-aarch64 -plugin ./libicount.so,out=FILE PROGRAM    appends one line to FILE
 *
 * Debian's `qemu-user` has plugins, its `qemu-user-static` has none. Newer QEMU needs another version of the interface.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

/* What we use of QEMU's plugin interface, version 1. */
typedef uint64_t plugin_id;
struct tb;
struct insn;
extern void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
extern void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *, void (*)(unsigned, void *), int flags, void *);
extern void qemu_plugin_register_atexit_cb(plugin_id, void (*)(plugin_id, void *), void *);
extern size_t qemu_plugin_tb_n_insns(const struct tb *);
extern struct insn *qemu_plugin_tb_get_insn(const struct tb *, size_t);
extern const void *qemu_plugin_insn_data(const struct insn *);
extern size_t qemu_plugin_insn_size(const struct insn *);
EXPORT int qemu_plugin_version = 1;

enum { TOTAL, SDOT, MMLA, SMLAL, SIMD, LOAD_STORE, BRANCH, CLASSES };
static const char *const names[CLASSES] = { "total", "sdot", "mmla", "smlal", "simd", "load_store", "branch" };

/* Instructions of one block of code, or of one thread so far. */
struct counts {
    uint64_t of[CLASSES];
} __attribute__((aligned(64)));

/* A row a thread, so that threads do not wait for each other. */
#define THREADS 256
static struct counts threads[THREADS];
static const char *out;

/* SDOT/UDOT, SMMLA/UMMLA and SMLAL are SIMD too and count in both. Masks from the Arm Architecture Reference Manual. */
static void classify(uint32_t word, struct counts *counts) {
    counts->of[TOTAL]++;
    uint32_t group = (word >> 25) & 15;
    if ((group & 5) == 4) counts->of[LOAD_STORE]++;
    else if ((group & 14) == 10) counts->of[BRANCH]++;
    if ((group & 7) != 7) return;
    counts->of[SIMD]++;
    if ((word & 0x9FE0FC00) == 0x0E809400 || (word & 0x9FC0F400) == 0x0F80E000 || (word & 0xBFE0FC00) == 0x0E809C00) counts->of[SDOT]++;
    else if ((word & 0xDFE0FC00) == 0x4E80A400 || (word & 0xFFE0FC00) == 0x4E80AC00) counts->of[MMLA]++;
    else if ((word & 0x9F20FC00) == 0x0E208000 || (word & 0x9F00F400) == 0x0F002000) counts->of[SMLAL]++;
}

static void executed(unsigned vcpu, void *block) {
    const struct counts *counts = block;
    for (int i = 0; i < CLASSES; i++) threads[vcpu % THREADS].of[i] += counts->of[i];
}

static void translated(plugin_id id, struct tb *tb) {
    struct counts *counts = calloc(1, sizeof *counts); /* kept: the block may run until the end */
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word = 0;
        if (qemu_plugin_insn_size(insn) == 4) memcpy(&word, qemu_plugin_insn_data(insn), 4);
        classify(word, counts);
    }
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, counts);
}

static void ended(plugin_id id, void *unused) {
    struct counts sum = { { 0 } };
    for (int thread = 0; thread < THREADS; thread++)
        for (int i = 0; i < CLASSES; i++) sum.of[i] += threads[thread].of[i];
    FILE *file = out ? fopen(out, "a") : stderr;
    if (!file) file = stderr;
    for (int i = 0; i < CLASSES; i++) fprintf(file, "%s%s=%llu", i ? " " : "", names[i], (unsigned long long)sum.of[i]);
    fprintf(file, "\n");
    fflush(file);
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) != 0) {
            fprintf(stderr, "icount: unknown argument %s, expected out=FILE\n", argv[i]);
            return -1;
        }
        out = strdup(argv[i] + 4);
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
