/* The guests' application: an append-only ledger, whose every entry can be counted and checked after a disaster.
 *
 * Each entry is one line, `N CRC BOOT`: numbered from 1, without gaps; CRC-32 over the CRC before it and "N BOOT"; BOOT is the
 * first 8 letters of the kernel's boot id. Entries are in memory first, and written out, synced, at every BATCH-th, at `flush`
 * and at `freeze`. What is synced is acknowledged: `last`. With several files (one a data disk) each gets every entry, in the
 * order given; where a crash left them unequal, the shorter is brought up to the longest, of which it must be a beginning.
 *
 *   ledger serve run|idle HOST UUID FILE...   adds 5 entries a second (run), or only those asked for (idle)
 *   ledger add N|flush|run|idle|freeze|thaw|stop|state      asks it; prints its state, one line of JSON
 *
 * The same line is in RUN/ledger.state, and answers a connection to TCP port PORT. At the start, `LEDGER last=N intact=yes|no
 * boots=HOST,HOST...` is printed. A ledger that is not intact is never written to. One thread, no busy waiting. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 5, TICK_MS = 200, FILES = 8, LINE = 64, BUFFER = 1 << 20, BOOTS = 1024 };

static struct {
    char *text;
    size_t size;
    int fd;
} files[FILES];
static int count, intact = 1, idle, frozen, ended;
static unsigned long last, buffered;
static uint32_t crc, synced_crc;
static char buffer[BUFFER], boot[9], boots[BOOTS], problem[128];
static size_t filled;
static const char *run_folder = "/run", *uuid = "";

static void die(const char *what) {
    fprintf(stderr, "ledger: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint32_t crc32_of(uint32_t value, const char *data, size_t size) {
    static uint32_t table[256];
    if (!table[1])
        for (uint32_t i = 0; i < 256; i++) {
            uint32_t c = i;
            for (int bit = 0; bit < 8; bit++) c = c & 1 ? 0xEDB88320u ^ (c >> 1) : c >> 1;
            table[i] = c;
        }
    value = ~value;
    for (size_t i = 0; i < size; i++) value = table[(value ^ (unsigned char)data[i]) & 255] ^ (value >> 8);
    return ~value;
}

/* zlib's crc32(text, before): so that anything can check a ledger. */
static uint32_t entry_crc(uint32_t before, unsigned long number, const char *of_boot) {
    char text[LINE];
    int size = snprintf(text, sizeof text, "%lu %s", number, of_boot);
    return crc32_of(before, text, (size_t)size);
}

static char *in_run(const char *name) {
    static char path[108];
    snprintf(path, sizeof path, "%s/%s", run_folder, name);
    return path;
}

static void broken(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    if (intact) vsnprintf(problem, sizeof problem, format, arguments);
    va_end(arguments);
    intact = 0;
}

static char *read_all(int fd, size_t *size) {
    struct stat info;
    if (fstat(fd, &info)) die("fstat");
    char *text = malloc((size_t)info.st_size + 1);
    if (!text) die("memory");
    *size = 0;
    while (*size < (size_t)info.st_size) {
        ssize_t got = pread(fd, text + *size, (size_t)info.st_size - *size, (off_t)*size);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) die("read");
        if (got == 0) break;
        *size += (size_t)got;
    }
    text[*size] = 0;
    return text;
}

static void write_all(int fd, const char *text, size_t size) {
    while (size) {
        ssize_t done = write(fd, text, size);
        if (done < 0 && errno == EINTR) continue;
        if (done < 0) die("write");
        text += done;
        size -= (size_t)done;
    }
}

/* Check the longest text: sets last, crc, intact. */
static void judge(const char *text, size_t size) {
    const char *at = text, *end = text + size;
    while (at < end) {
        unsigned long number;
        unsigned int found;
        char of_boot[9];
        int used = 0;
        if (sscanf(at, "%lu %8x %8s%n", &number, &found, of_boot, &used) != 3 || at[used] != '\n')
            return broken("entry %lu is not readable", last + 1);
        if (number != last + 1) return broken("entry %lu stands where %lu should", number, last + 1);
        uint32_t wanted = entry_crc(crc, number, of_boot);
        if (wanted != found) return broken("entry %lu has a wrong checksum", number);
        last = number;
        crc = wanted;
        at += used + 1;
    }
}

static void load(char **paths) {
    int longest = 0;
    for (int i = 0; i < count; i++) {
        files[i].fd = open(paths[i], O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (files[i].fd < 0) die(paths[i]);
        files[i].text = read_all(files[i].fd, &files[i].size);
        /* A line without its end was never acknowledged: a crash in the middle of a write-out. */
        while (files[i].size && files[i].text[files[i].size - 1] != '\n') files[i].size--;
        if (files[i].size > files[longest].size) longest = i;
    }
    judge(files[longest].text, files[longest].size);
    for (int i = 0; i < count; i++)
        if (memcmp(files[i].text, files[longest].text, files[i].size)) broken("%s is another ledger", paths[i]);
    for (int i = 0; i < count && intact; i++) {
        if (ftruncate(files[i].fd, (off_t)files[i].size)) die("truncate");
        write_all(files[i].fd, files[longest].text + files[i].size, files[longest].size - files[i].size);
        if (fsync(files[i].fd)) die("fsync");
    }
    for (int i = 0; i < count; i++) free(files[i].text);
    synced_crc = crc;
}

/* One line a boot, `HOST UUID LAST`, beside the first file. */
static void note_boot(const char *first, const char *host) {
    char path[256], line[256];
    snprintf(path, sizeof path, "%s.boots", first);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0) die(path);
    write_all(fd, line, (size_t)snprintf(line, sizeof line, "%s %s %lu\n", host, uuid, last));
    if (fsync(fd)) die("fsync");
    size_t size, used = 0;
    char *text = read_all(fd, &size);
    for (char *at = strtok(text, "\n"); at; at = strtok(NULL, "\n")) {
        size_t length = strcspn(at, " ");
        if (used + length + 2 >= sizeof boots) break;
        used += (size_t)snprintf(boots + used, sizeof boots - used, "%s%.*s", used ? "," : "", (int)length, at);
    }
    free(text);
    close(fd);
}

static const char *state(void) {
    static char line[BOOTS * 2];
    snprintf(line, sizeof line,
             "{\"last\":%lu,\"crc\":\"%08x\",\"buffered\":%lu,\"intact\":%s,\"problem\":\"%s\",\"mode\":\"%s\",\"frozen\":%s,"
             "\"boots\":\"%s\",\"boot\":\"%s\",\"uuid\":\"%s\"}\n",
             last, synced_crc, buffered, intact ? "true" : "false", problem, idle ? "idle" : "run",
             frozen ? "true" : "false", boots, boot, uuid);
    return line;
}

static void publish(void) {
    char path[108], partial[116];
    snprintf(path, sizeof path, "%s", in_run("ledger.state"));
    snprintf(partial, sizeof partial, "%s.new", path);
    int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) die(partial);
    write_all(fd, state(), strlen(state()));
    close(fd);
    if (rename(partial, path)) die(path);
}

static void write_out(void) {
    if (!intact || frozen || !buffered) return;
    for (int i = 0; i < count; i++) write_all(files[i].fd, buffer, filled);
    for (int i = 0; i < count; i++)
        if (fdatasync(files[i].fd)) die("fdatasync");
    last += buffered;
    synced_crc = crc;
    buffered = 0;
    filled = 0;
}

static void add(unsigned long entries) {
    for (; entries && intact && filled + LINE < BUFFER; entries--) {
        unsigned long number = last + buffered + 1;
        crc = entry_crc(crc, number, boot);
        filled += (size_t)sprintf(buffer + filled, "%lu %08x %s\n", number, crc, boot);
        if (++buffered >= BATCH) write_out();
    }
}

/* Where somebody has put a file for it, the file in /run says when the guest began to hold still and when it went on. */
static void stamp(const char *word) {
    FILE *file = fopen(in_run("stamps"), "r+");
    if (!file) return;
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    fseek(file, 0, SEEK_END);
    fprintf(file, "%s %ld.%02ld\n", word, (long)time.tv_sec, time.tv_nsec / 10000000);
    fclose(file);
}

static void obey(char *word) {
    char *number = strchr(word, ' ');
    if (number) *number++ = 0;
    if (!strcmp(word, "freeze") || !strcmp(word, "thaw")) stamp(word);
    if (!strcmp(word, "add")) add(number ? strtoul(number, NULL, 10) : 1);
    else if (!strcmp(word, "run")) idle = 0;
    else if (!strcmp(word, "idle")) idle = 1;
    else if (!strcmp(word, "thaw")) frozen = 0;
    else if (!strcmp(word, "flush") || !strcmp(word, "freeze") || !strcmp(word, "stop")) {
        write_out();
        if (!strcmp(word, "freeze")) frozen = 1;
        if (!strcmp(word, "stop")) ended = 1;
    }
}

static int listener(int family, struct sockaddr *address, socklen_t size) {
    int yes = 1, fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, address, size) || listen(fd, 16)) die("listen");
    return fd;
}

static struct sockaddr_un control(void) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", in_run("ledger.sock"));
    return address;
}

static void answer(int fd, int with_words) {
    char word[LINE] = "";
    struct timeval patience = {.tv_sec = 1};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (with_words && read(fd, word, sizeof word - 1) > 0) {
        obey(word);
        publish();
    }
    /* The other side may have gone: its loss. */
    ssize_t ignored = send(fd, state(), strlen(state()), MSG_NOSIGNAL);
    (void)ignored;
    close(fd);
}

static int64_t now_ms(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

static void serve(const char *port, const char *host, char **paths) {
    FILE *id = fopen("/proc/sys/kernel/random/boot_id", "r");
    if (!id || !fgets(boot, sizeof boot, id)) die("boot id");
    fclose(id);
    load(paths);
    if (intact) note_boot(paths[0], host);
    printf("LEDGER last=%lu intact=%s boots=%s%s%s\n", last, intact ? "yes" : "no", boots, *problem ? " problem=" : "", problem);
    fflush(stdout);
    struct sockaddr_un here = control();
    unlink(here.sun_path);
    struct sockaddr_in everywhere = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    struct pollfd waits[2] = {
        {.fd = listener(AF_UNIX, (struct sockaddr *)&here, sizeof here), .events = POLLIN},
        {.fd = listener(AF_INET, (struct sockaddr *)&everywhere, sizeof everywhere), .events = POLLIN},
    };
    publish();
    for (int64_t due = now_ms() + TICK_MS; !ended;) {
        int64_t left = due - now_ms();
        if (poll(waits, 2, idle ? -1 : left > 0 ? (int)left : 0) < 0 && errno != EINTR) die("poll");
        for (int i = 0; i < 2; i++)
            if (waits[i].revents & POLLIN) {
                int fd = accept4(waits[i].fd, NULL, NULL, SOCK_CLOEXEC);
                if (fd >= 0) answer(fd, i == 0);
            }
        if (!idle && now_ms() >= due) {
            add(1);
            publish();
            due = now_ms() + TICK_MS;
        }
    }
    publish();
    unlink(here.sun_path);
}

static int ask(int words, char **word) {
    char text[LINE * 2] = "";
    for (int i = 0; i < words && strlen(text) + strlen(word[i]) + 2 < LINE; i++)
        sprintf(text + strlen(text), "%s%s", i ? " " : "", word[i]);
    struct sockaddr_un address = control();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) die("the ledger does not run");
    write_all(fd, text, strlen(text));
    char said[BOOTS * 2];
    ssize_t got, all = 0;
    while ((got = read(fd, said, sizeof said)) > 0) {
        all += got;
        write_all(1, said, (size_t)got);
    }
    return all > 0 ? 0 : 1;
}

int main(int words, char **word) {
    signal(SIGPIPE, SIG_IGN);
    const char *port = getenv("LEDGER_PORT"), *folder = getenv("LEDGER_RUN");
    if (folder) run_folder = folder;
    if (words >= 6 && !strcmp(word[1], "serve") && words - 5 <= FILES) {
        idle = !strcmp(word[2], "idle");
        uuid = word[4];
        count = words - 5;
        serve(port ? port : "7", word[3], word + 5);
        return 0;
    }
    if (words >= 2 && strcmp(word[1], "serve")) return ask(words - 1, word + 1);
    fprintf(stderr, "usage: ledger serve run|idle HOST UUID FILE... | add N|flush|run|idle|freeze|thaw|stop|state\n");
    return 2;
}
