/* An X-ray controller at its smallest: tells the box of one exposure and reads the result lamp.
 *
 *     cc -std=c99 -o controller controller.c && ./controller /dev/ttyS1 7 125.0 2.5
 *
 * docs/protocol.md explains every byte. Only open_line, put_line and get_line need an operating system: replace them by
 * your UART. All memory is fixed. */
#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

enum { HELLO = 0, EXPOSURE = 17 }; /* requests, by position: they never move */
enum { ANSWER_REPLY = 0, OK = 0, RESPONSE_HELLO = 0, RESPONSE_LAMP = 13 };
enum { PATIENCE_MS = 5000, TRIES = 3, MOST = 256 };

typedef struct { uint8_t bytes[MOST]; size_t length; } message;
static int line;

static int open_line(const char *path) {
    struct termios raw;
    line = open(path, O_RDWR | O_NOCTTY);
    if (line < 0 || tcgetattr(line, &raw) != 0) return -1;
    raw.c_iflag = raw.c_oflag = raw.c_lflag = 0;
    raw.c_cflag = CS8 | CREAD | CLOCAL;
    raw.c_cc[VMIN] = 1, raw.c_cc[VTIME] = 0;
    cfsetispeed(&raw, B115200), cfsetospeed(&raw, B115200);
    return tcsetattr(line, TCSANOW, &raw);
}

static int put_line(const uint8_t *bytes, size_t length) {
    return write(line, bytes, length) == (ssize_t)length ? 0 : -1;
}

static int get_line(void) { /* one byte, or -1 when nothing came in time */
    struct pollfd ready = { line, POLLIN, 0 };
    uint8_t byte;
    return poll(&ready, 1, PATIENCE_MS) == 1 && read(line, &byte, 1) == 1 ? byte : -1;
}

/* Frames: COBS(message, CRC-32), then a zero. */
static uint32_t crc32(const uint8_t *bytes, size_t length) {
    uint32_t crc = 0xffffffff;
    for (size_t i = 0; i < length; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    return ~crc;
}

static int send_message(message m) { /* at most 250 bytes: one COBS block, as nothing here is longer */
    uint8_t frame[MOST] = { 0 }; /* the leading zero ends whatever noise the line made before */
    size_t code = 1, end = 2;
    uint32_t crc = crc32(m.bytes, m.length);
    for (int i = 0; i < 4; i++) m.bytes[m.length++] = (uint8_t)(crc >> 8 * i);
    for (size_t i = 0; i < m.length; i++) {
        if (m.bytes[i] == 0) frame[code] = (uint8_t)(end - code), code = end++;
        else frame[end++] = m.bytes[i];
    }
    frame[code] = (uint8_t)(end - code);
    frame[end++] = 0;
    return put_line(frame, end);
}

/* The next whole frame; -1 when the line stays silent. Damaged and longer ones are passed over. */
static int receive_message(message *m) {
    for (;;) {
        uint8_t frame[MOST];
        size_t length = 0, out = 0;
        int byte;
        while ((byte = get_line()) > 0) { if (length < MOST) frame[length] = (uint8_t)byte; length++; }
        if (byte < 0) return -1;
        if (length >= MOST) continue;
        for (size_t at = 0; at < length;) {
            size_t code = frame[at++];
            for (size_t i = 1; i < code && at < length; i++) m->bytes[out++] = frame[at++];
            if (code < 255 && at < length) m->bytes[out++] = 0;
        }
        if (out < 5) continue;
        uint32_t crc = crc32(m->bytes, m->length = out - 4);
        for (int i = 0; i < 4; i++) crc ^= (uint32_t)m->bytes[out - 4 + i] << 8 * i;
        if (crc == 0) return 0;
    }
}

/* Messages: numbers are varints, seven bits a byte, the lowest first. */
static void put(message *m, uint64_t value) {
    for (; value > 127; value >>= 7) m->bytes[m->length++] = (uint8_t)(value | 128);
    m->bytes[m->length++] = (uint8_t)value;
}
static void put_known(message *m, uint64_t value) { put(m, 1), put(m, value); }
static void put_unknown(message *m) { put(m, 0); }

static uint64_t take(const message *m, size_t *at) {
    uint64_t value = 0;
    for (int shift = 0; *at < m->length && shift < 64; shift += 7) {
        uint8_t byte = m->bytes[(*at)++];
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128) break;
    }
    return value;
}

static message call(uint32_t number) { /* the number comes back in the reply; the 16 bytes may be anything */
    message m = { { 0 }, 0 };
    put(&m, number), m.length += 16;
    return m;
}

/* Sends a call until its reply comes: repeating it is harmless. Leaves `at` behind the response's position. */
static int ask(const message *request, uint32_t number, message *reply, size_t *at, uint64_t expected) {
    for (int try = 0; try < TRIES; try++) {
        if (send_message(*request) != 0) return -1;
        while (receive_message(reply) == 0) {
            *at = 0;
            if (take(reply, at) != ANSWER_REPLY || take(reply, at) != number) continue; /* still at work, or older */
            if (take(reply, at) == OK && take(reply, at) == expected) return 0;
            return fprintf(stderr, "the box refuses\n"), -1;
        }
    }
    return fprintf(stderr, "the box does not answer\n"), -1;
}
int main(int count, char **words) {
    static const char *const lamps[] = { "idle", "analysing", "ready", "urgent", "not-analysed", "trouble" };
    if (count != 5 || open_line(words[1]) != 0) return fprintf(stderr, "usage: controller LINE SEQUENCE KV MAS\n"), 2;
    uint32_t number = (uint32_t)time(NULL); /* not from 1: an old answer may still be in the line */
    message reply, hello = call(++number);
    size_t at;
    put(&hello, HELLO);
    for (int i = 0; i < 2; i++) put(&hello, 1), put(&hello, 1 - i); /* we speak 1.1 and understand 1.0 */
    if (ask(&hello, number, &reply, &at, RESPONSE_HELLO) != 0) return 1;

    message exposure = call(++number);
    put(&exposure, EXPOSURE), put(&exposure, 0), put(&exposure, 0);        /* controller, epoch */
    put(&exposure, strtoul(words[2], NULL, 10));                           /* sequence */
    put(&exposure, 0);                                                     /* complete; 1: aborted */
    put_known(&exposure, 0), put_unknown(&exposure);                       /* ended 0 ms ago; no calendar clock */
    put_known(&exposure, (uint64_t)(strtod(words[3], NULL) * 10 + 0.5));   /* 0.1 kV */
    put_known(&exposure, (uint64_t)(strtod(words[4], NULL) * 1000 + 0.5)); /* 0.001 mAs */
    for (int i = 0; i < 7; i++) put_unknown(&exposure);                    /* time, distance, grid, AEC, DAP, subject, repeats */
    if (ask(&exposure, number, &reply, &at, RESPONSE_LAMP) != 0) return 1;
    uint64_t lamp = take(&reply, &at), missing = take(&reply, &at);
    printf("%s %u\n", lamp < 6 ? lamps[lamp] : "unknown", (unsigned)missing);
    return 0;
}
