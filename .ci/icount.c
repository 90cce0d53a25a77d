/* A plugin for qemu-user 7.2 that counts the aarch64 instructions a program executes, in all and by class.
 *
 *     gcc -O2 -fPIC -shared -o libicount.so icount.c          no header and no source of QEMU is needed
 *     qemu-aarch64 -plugin ./libicount.so,out=FILE PROGRAM    appends one line to FILE
 *     qemu-aarch64 -plugin ./libicount.so,out=FILE,symbols=FILE2 PROGRAM    and a line for each function to FILE2
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
extern const char *qemu_plugin_insn_symbol(const struct insn *);
EXPORT int qemu_plugin_version = 1;

enum { TOTAL, SDOT, MMLA, SMLAL, SIMD, LOAD_STORE, BRANCH, CLASSES };
static const char *const names[CLASSES] = { "total", "sdot", "mmla", "smlal", "simd", "load_store", "branch" };

/* Instructions of one block of code, or of one thread so far. */
struct counts {
    uint64_t of[CLASSES];
} __attribute__((aligned(64)));

/* A block of code. */
struct block {
    struct counts counts;
    const char *symbol; /* of the function it lies in; NULL where there is none */
    uint64_t executed;
    struct block *next;
};
static struct block *blocks;

/* A row a thread, so that threads do not wait for each other. */
#define THREADS 256
static struct counts threads[THREADS];
static const char *out, *symbols;

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

static void executed(unsigned vcpu, void *data) {
    struct block *block = data;
    for (int i = 0; i < CLASSES; i++) threads[vcpu % THREADS].of[i] += block->counts.of[i];
    if (symbols) __atomic_fetch_add(&block->executed, 1, __ATOMIC_RELAXED);
}

static void translated(plugin_id id, struct tb *tb) {
    struct block *block = aligned_alloc(64, (sizeof *block + 63) / 64 * 64); /* kept: it may run until the end */
    memset(block, 0, sizeof *block);
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(tb); i++) {
        struct insn *insn = qemu_plugin_tb_get_insn(tb, i);
        uint32_t word = 0;
        if (qemu_plugin_insn_size(insn) == 4) memcpy(&word, qemu_plugin_insn_data(insn), 4);
        classify(word, &block->counts);
        if (i == 0 && symbols) block->symbol = qemu_plugin_insn_symbol(insn);
    }
    do block->next = __atomic_load_n(&blocks, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&blocks, &block->next, block, 0, __ATOMIC_RELEASE, __ATOMIC_RELAXED));
    qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, 0, block);
}

/* A line for each block that ran: instructions, function. Whoever reads it adds up. */
static void write_symbols(void) {
    FILE *file = fopen(symbols, "a");
    if (!file) return;
    for (const struct block *block = blocks; block; block = block->next)
        if (block->executed)
            fprintf(file, "%llu %s\n", (unsigned long long)(block->executed * block->counts.of[TOTAL]), block->symbol && *block->symbol ? block->symbol : "?");
    fclose(file);
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
    if (symbols) write_symbols();
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "out=", 4) == 0) out = strdup(argv[i] + 4);
        else if (strncmp(argv[i], "symbols=", 8) == 0) symbols = strdup(argv[i] + 8);
        else {
            fprintf(stderr, "icount: unknown argument %s, expected out=FILE or symbols=FILE\n", argv[i]);
            return -1;
        }
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
