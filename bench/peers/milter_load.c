/* The MTA's side of milter protocol 6: delivers the messages of a corpus to a filter, or to a chain of filters, and
 * measures how long each message waits for them.
 *
 *     milter_load CORPUS FIRST COUNT CONNECTIONS RESULTS SOCKET...
 *
 * CORPUS   a folder. `messages` holds all messages one after the other, with CRLF line ends. `envelopes` has one line
 *          for each, with these columns between tabs: offset, bytes, client address, client name, HELO, MAIL FROM,
 *          RCPT TO... (both as paths, with angle brackets).
 * FIRST    position of the first message to deliver; COUNT messages follow each other in the order of the corpus.
 * SOCKET   unix:PATH, or inet:PORT@127.0.0.1. Several make a chain, called as Postfix does it: each command of the
 *          SMTP client goes to all filters at once; then the message goes to the first filter and, with the changes
 *          that it asked for, to the next one.
 * RESULTS  a file. For each message a line `message`, and for each header field that a filter added a line `field`:
 *              message  position  verdict  total  connect  envelope  header  body  end-of-message
 *              field    position  name  value
 *          Times are microseconds, added up over the chain; the verdict is the reply's code, or `!` when the connection
 *          broke.
 * stdout   `wall SECONDS` and `cpu SECONDS` of this program.
 *
 * Each of CONNECTIONS threads takes the next message, opens a connection for it, and closes it afterwards.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Bits of the negotiation (libmilter/mfdef.h): SMFIP_NO... leaves out a step, SMFIP_NR_... its reply. */
enum {
    NO_CONNECT = 0x1, NO_HELO = 0x2, NO_MAIL = 0x4, NO_RCPT = 0x8, NO_BODY = 0x10, NO_HEADER = 0x20, NO_EOH = 0x40,
    NR_HEADER = 0x80, NO_DATA = 0x200, NR_CONNECT = 0x1000, NR_HELO = 0x2000, NR_MAIL = 0x4000, NR_RCPT = 0x8000,
    NR_DATA = 0x10000, NR_EOH = 0x40000, NR_BODY = 0x80000, LEADING_SPACE = 0x100000,
    ALL_STEPS = 0x1fffff, ALL_ACTIONS = 0x1ff, VERSION = 6
};
/* Stages of macros, numbered as in the list of macros of the negotiation. */
enum { CONNECT, HELO, MAIL, RCPT, DATA, EOM, EOH, STAGES };
enum { MAX_FILTERS = 4, MAX_RCPTS = 8, CHUNK = 65535, MAX_PACKET = 1 << 24, TIMEOUT = 120 };

static const char *const DEFAULT_MACROS[STAGES] = {
    "j {daemon_name} {daemon_addr} v _ {client_addr} {client_name} {client_ptr}", "", "{mail_addr}", "{rcpt_addr}",
    "i", "i", "i",
};

struct bytes { char *data; size_t used, size; };

struct message {
    size_t offset, size;
    char *address, *name, *helo, *mail_from, *rcpts[MAX_RCPTS];
    int rcpt_count;
};

struct field { char *name, *value; }; /* The value with its leading space, folds as LF. */

struct fields { struct field *list; int count, size; };

/* One filter, on the connection of one message. */
struct filter {
    int fd;
    uint32_t protocol;
    char *macros[STAGES]; /* What the filter asked for at a stage; NULL: the default. */
    struct bytes out, packet;
    char command;         /* The code of `packet`. */
    char input[1 << 16];
    size_t next, end;     /* What of `input` is still to be read. */
    bool done;            /* It has accepted the message before the end. */
};

static const char *corpus;
static struct message *messages;
static int count, chain_length;
static const char *sockets[MAX_FILTERS];
static int first;
static atomic_int taken;
static FILE *results;
static pthread_mutex_t results_lock = PTHREAD_MUTEX_INITIALIZER;

static void fail(const char *what)
{
    perror(what);
    exit(2);
}

static double microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1e6 + now.tv_nsec / 1e3;
}

static void append(struct bytes *to, const void *data, size_t size)
{
    if (to->used + size + 1 > to->size) {
        to->size = 2 * (to->used + size + 1);
        if (!(to->data = realloc(to->data, to->size))) fail("memory");
    }
    if (size) memcpy(to->data + to->used, data, size);
    to->used += size;
    to->data[to->used] = 0;
}

static void append_string(struct bytes *to, const char *text) { append(to, text, strlen(text) + 1); }

/* ---- header fields ---- */

static void insert_field(struct fields *header, int place, char *name, char *value)
{
    if (header->count == header->size) {
        header->size = 2 * header->size + 32;
        if (!(header->list = realloc(header->list, header->size * sizeof *header->list))) fail("memory");
    }
    if (place > header->count) place = header->count;
    memmove(header->list + place + 1, header->list + place, (header->count - place) * sizeof *header->list);
    header->list[place] = (struct field){name, value};
    header->count++;
}

static void delete_field(struct fields *header, int place)
{
    free(header->list[place].name);
    free(header->list[place].value);
    header->count--;
    memmove(header->list + place, header->list + place + 1, (header->count - place) * sizeof *header->list);
}

/* A copy without the CRs: milters get folds as LF. */
static char *folds_as_lf(const char *text, size_t size)
{
    char *copy = malloc(size + 1), *end = copy;
    for (size_t i = 0; i < size; i++)
        if (text[i] != '\r') *end++ = text[i];
    *end = 0;
    return copy;
}

/* Split a message into its fields; returns where the body begins. */
static size_t read_header(const char *text, size_t size, struct fields *header)
{
    size_t start = 0;
    while (start + 2 <= size && memcmp(text + start, "\r\n", 2)) {
        size_t end = start;
        do {
            const char *line_end = memmem(text + end, size - end, "\r\n", 2);
            end = line_end ? (size_t)(line_end - text) + 2 : size;
        } while (end < size && (text[end] == ' ' || text[end] == '\t'));
        const char *colon = memchr(text + start, ':', end - start);
        if (colon)
            insert_field(header, header->count, strndup(text + start, colon - text - start),
                         folds_as_lf(colon + 1, text + end - 2 - (colon + 1)));
        start = end;
    }
    return start + 2 < size ? start + 2 : size;
}

/* ---- packets ---- */

static void put(struct filter *f, char command, const void *data, size_t size)
{
    uint32_t length = htonl(size + 1);
    append(&f->out, &length, 4);
    append(&f->out, &command, 1);
    append(&f->out, data, size);
}

static bool flush(struct filter *f)
{
    size_t sent = 0;
    while (sent < f->out.used) {
        ssize_t n = send(f->fd, f->out.data + sent, f->out.used - sent, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) sent += n;
    }
    f->out.used = 0;
    return true;
}

static bool take(struct filter *f, void *to, size_t size)
{
    for (char *place = to; size;) {
        if (f->next == f->end) {
            ssize_t n = recv(f->fd, f->input, sizeof f->input, 0);
            if (n < 0 && errno == EINTR) continue;
            if (n <= 0) return false;
            f->next = 0;
            f->end = n;
        }
        size_t n = f->end - f->next < size ? f->end - f->next : size;
        memcpy(place, f->input + f->next, n);
        f->next += n;
        place += n;
        size -= n;
    }
    return true;
}

static bool receive(struct filter *f)
{
    uint32_t length;
    if (!take(f, &length, 4) || !take(f, &f->command, 1)) return false;
    length = ntohl(length);
    if (length < 1 || length > MAX_PACKET) return false;
    f->packet.used = 0;
    while (f->packet.used < length - 1) {
        char part[4096];
        size_t n = length - 1 - f->packet.used < sizeof part ? length - 1 - f->packet.used : sizeof part;
        if (!take(f, part, n)) return false;
        append(&f->packet, part, n);
    }
    append(&f->packet, "", 0);
    return true;
}

/* Send what is put, and wait for the reply unless there is none: 'c' go on, 's' skip, '!' broken, or the verdict. */
static char answer(struct filter *f, uint32_t no_reply)
{
    if (!flush(f)) return '!';
    if (f->protocol & no_reply) return 'c';
    do
        if (!receive(f)) return '!';
    while (f->command == 'p');
    return strchr("csadrtyf4", f->command) ? f->command : '!';
}

/* ---- the connection ---- */

static bool open_socket(struct filter *f, const char *target)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in host = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    bool is_unix = !strncmp(target, "unix:", 5);
    struct sockaddr *address = is_unix ? (struct sockaddr *)&path : (struct sockaddr *)&host;
    if (is_unix) snprintf(path.sun_path, sizeof path.sun_path, "%s", target + 5);
    else host.sin_port = htons(atoi(target + 5));
    f->fd = socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {TIMEOUT, 0};
    setsockopt(f->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(f->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    for (int tries = 0; connect(f->fd, address, is_unix ? sizeof path : sizeof host); tries++) {
        if (errno != EAGAIN || tries > 2000) return false; /* EAGAIN: the backlog is full. */
        usleep(2000);
    }
    int yes = 1;
    if (!is_unix) setsockopt(f->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* As Postfix does. */
    return true;
}

static bool negotiate(struct filter *f)
{
    uint32_t words[3] = {htonl(VERSION), htonl(ALL_ACTIONS), htonl(ALL_STEPS)};
    put(f, 'O', words, sizeof words);
    if (!flush(f) || !receive(f) || f->command != 'O' || f->packet.used < sizeof words) return false;
    memcpy(words, f->packet.data, sizeof words);
    f->protocol = ntohl(words[2]);
    for (size_t at = sizeof words; at + 4 < f->packet.used;) {
        uint32_t stage;
        memcpy(&stage, f->packet.data + at, 4);
        stage = ntohl(stage);
        if (stage < STAGES && !f->macros[stage]) f->macros[stage] = strdup(f->packet.data + at + 4);
        at += 4 + strlen(f->packet.data + at + 4) + 1;
    }
    return true;
}

static void without_brackets(const char *path, char *to, size_t size)
{
    snprintf(to, size, "%s", path + (*path == '<'));
    to[strcspn(to, ">")] = 0;
}

/* The value of a macro for a message; false if it has none. */
static bool macro_value(const char *macro, const struct message *m, const char *rcpt, char *value, size_t size)
{
    bool has_name = m->name[0] != '[';
    const char *name = has_name ? m->name : "unknown", *text = NULL;
    if (!strcmp(macro, "j")) text = "mx.receiver.example";
    else if (!strcmp(macro, "v")) text = "Postfix 3.7.11";
    else if (!strcmp(macro, "i")) snprintf(value, size, "4B%08zX", m - messages + (size_t)0x10000);
    else if (!strcmp(macro, "_")) snprintf(value, size, "%s [%s]", name, m->address);
    else if (!strcmp(macro, "{daemon_name}")) text = "smtpd";
    else if (!strcmp(macro, "{daemon_addr}")) text = "198.18.0.25";
    else if (!strcmp(macro, "{client_addr}")) text = m->address;
    else if (!strcmp(macro, "{client_name}") || !strcmp(macro, "{client_ptr}")) text = name;
    else if (!strcmp(macro, "{mail_addr}")) without_brackets(m->mail_from, value, size);
    else if (!strcmp(macro, "{rcpt_addr}") && rcpt) without_brackets(rcpt, value, size);
    else return false;
    if (text) snprintf(value, size, "%s", text);
    return true;
}

static void put_macros(struct filter *f, int stage, char command, const struct message *m, const char *rcpt)
{
    struct bytes packet = {0};
    char names[1024], value[1024], *rest;
    snprintf(names, sizeof names, "%s", f->macros[stage] ? f->macros[stage] : DEFAULT_MACROS[stage]);
    append(&packet, &command, 1);
    for (char *name = strtok_r(names, " ,", &rest); name; name = strtok_r(NULL, " ,", &rest))
        if (macro_value(name, m, rcpt, value, sizeof value)) {
            append_string(&packet, name);
            append_string(&packet, value);
        }
    if (packet.used > 1) put(f, 'D', packet.data, packet.used);
    free(packet.data);
}

/* ---- one message ---- */

static char connect_and_greet(struct filter *f, int number, const struct message *m)
{
    char reply = 'c';
    if (!open_socket(f, sockets[number]) || !negotiate(f)) return '!';
    if (!(f->protocol & NO_CONNECT)) {
        struct bytes packet = {0};
        uint16_t port = htons(25025);
        put_macros(f, CONNECT, 'C', m, NULL);
        append_string(&packet, m->name);
        append(&packet, strchr(m->address, ':') ? "6" : "4", 1);
        append(&packet, &port, 2);
        append_string(&packet, m->address);
        put(f, 'C', packet.data, packet.used);
        free(packet.data);
        reply = answer(f, NR_CONNECT);
    }
    if (reply == 'c' && !(f->protocol & NO_HELO)) {
        put_macros(f, HELO, 'H', m, NULL);
        put(f, 'H', m->helo, strlen(m->helo) + 1);
        reply = answer(f, NR_HELO);
    }
    return reply;
}

static char mail(struct filter *f, const struct message *m)
{
    if (f->protocol & NO_MAIL) return 'c';
    struct bytes packet = {0};
    char size[32];
    snprintf(size, sizeof size, "SIZE=%zu", m->size);
    append_string(&packet, m->mail_from);
    append_string(&packet, size);
    put_macros(f, MAIL, 'M', m, NULL);
    put(f, 'M', packet.data, packet.used);
    free(packet.data);
    return answer(f, NR_MAIL);
}

static char rcpt(struct filter *f, const struct message *m, const char *path)
{
    if (f->protocol & NO_RCPT) return 'c';
    put_macros(f, RCPT, 'R', m, path);
    put(f, 'R', path, strlen(path) + 1);
    return answer(f, NR_RCPT);
}

static char data(struct filter *f, const struct message *m)
{
    if (f->protocol & NO_DATA) return 'c';
    put_macros(f, DATA, 'T', m, NULL);
    put(f, 'T', NULL, 0);
    return answer(f, NR_DATA);
}

static char header_fields(struct filter *f, const struct message *m, const struct fields *header)
{
    for (int i = 0; i < header->count && !(f->protocol & NO_HEADER); i++) {
        struct bytes packet = {0};
        const char *value = header->list[i].value;
        if (!(f->protocol & LEADING_SPACE)) value += strspn(value, " \t");
        append_string(&packet, header->list[i].name);
        append_string(&packet, value);
        put(f, 'L', packet.data, packet.used);
        free(packet.data);
        if (!(f->protocol & NR_HEADER)) {
            char reply = answer(f, 0);
            if (reply != 'c') return reply;
        }
    }
    if (f->protocol & NO_EOH) return flush(f) ? 'c' : '!';
    put_macros(f, EOH, 'N', m, NULL);
    put(f, 'N', NULL, 0);
    return answer(f, NR_EOH);
}

static char body(struct filter *f, const char *text, size_t size)
{
    char reply = 'c';
    for (size_t at = 0; at < size && reply == 'c' && !(f->protocol & NO_BODY); at += CHUNK) {
        put(f, 'B', text + at, size - at < CHUNK ? size - at : CHUNK);
        reply = answer(f, NR_BODY);
    }
    return reply == 's' ? 'c' : reply;
}

/* A line `field`, with the line ends and tabs of the value as spaces. */
static void report_field(struct bytes *report, int position, const char *name, const char *value)
{
    char start[32];
    append(report, start, snprintf(start, sizeof start, "field\t%d\t", position));
    append(report, name, strlen(name));
    append(report, "\t", 1);
    size_t from = report->used;
    append(report, value, strlen(value));
    for (; from < report->used; from++)
        if (strchr("\r\n\t", report->data[from])) report->data[from] = ' ';
    append(report, "\n", 1);
}

/* Add ('h'), insert ('i') or change ('m', an empty value deletes) a field as the filter asks in its packet. */
static void edit(struct filter *f, struct fields *header, struct bytes *report, int position)
{
    const char *name = f->packet.data;
    uint32_t index = header->count;
    if (f->command != 'h') {
        memcpy(&index, name, 4);
        index = ntohl(index);
        name += 4;
    }
    const char *value = name + strlen(name) + 1;
    char *copy;
    if (asprintf(&copy, "%s%s", *value == ' ' ? "" : " ", value) < 0) fail("memory");
    if (f->command != 'm') {
        report_field(report, position, name, value);
        insert_field(header, index, strdup(name), copy);
        return;
    }
    for (int place = 0; place < header->count; place++)
        if (!strcasecmp(header->list[place].name, name) && --index == 0) {
            delete_field(header, place);
            if (*value) insert_field(header, place, strdup(name), copy);
            else free(copy);
            return;
        }
    free(copy);
}

static char end_of_message(struct filter *f, const struct message *m, struct fields *header, struct bytes *report)
{
    put_macros(f, EOM, 'E', m, NULL);
    put(f, 'E', NULL, 0);
    if (!flush(f)) return '!';
    while (receive(f)) {
        if (strchr("him", f->command)) edit(f, header, report, m - messages);
        else if (strchr("cadrtyf4", f->command)) return f->command;
    }
    return '!';
}

/* Note the reply of one filter to a step. False when it ends the message for the whole chain. */
static bool goes_on(struct filter *f, char reply, char *verdict)
{
    f->done |= reply == 'a';
    *verdict = reply == 'c' ? *verdict : reply;
    return reply == 'c' || reply == 'a';
}

#define FOR_CHAIN(step) \
    for (int number = 0; number < chain_length && open; number++) { \
        struct filter *f = &chain[number]; \
        if (!f->done) open = goes_on(f, step, &verdict); \
    }

static void deliver(struct filter *chain, const struct message *m, struct bytes *report)
{
    struct fields header = {0};
    const char *text = corpus + m->offset;
    size_t body_start = read_header(text, m->size, &header);
    double in_header = 0, in_body = 0, in_end = 0;
    char verdict = 'c', line[200];
    bool open = true;
    for (int number = 0; number < chain_length; number++) {
        struct filter *f = &chain[number];
        f->done = false;
        f->out.used = f->next = f->end = 0;
        for (int stage = 0; stage < STAGES; stage++) {
            free(f->macros[stage]);
            f->macros[stage] = NULL;
        }
    }
    double start = microseconds();
    FOR_CHAIN(connect_and_greet(f, number, m))
    double connected = microseconds();
    FOR_CHAIN(mail(f, m))
    for (int i = 0; i < m->rcpt_count; i++) FOR_CHAIN(rcpt(f, m, m->rcpts[i]))
    FOR_CHAIN(data(f, m))
    double enveloped = microseconds();
    for (int number = 0; number < chain_length && open; number++) {
        struct filter *f = &chain[number];
        if (f->done) continue;
        double at = microseconds();
        open = goes_on(f, header_fields(f, m, &header), &verdict);
        double after_header = microseconds();
        in_header += after_header - at;
        if (!open || f->done) continue;
        open = goes_on(f, body(f, text + body_start, m->size - body_start), &verdict);
        double after_body = microseconds();
        in_body += after_body - after_header;
        if (!open || f->done) continue;
        open = goes_on(f, end_of_message(f, m, &header, report), &verdict);
        in_end += microseconds() - after_body;
    }
    double total = microseconds() - start;
    append(report, line, snprintf(line, sizeof line, "message\t%d\t%c\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\t%.0f\n",
        (int)(m - messages), verdict, total, connected - start, enveloped - connected, in_header, in_body, in_end));
    for (int number = 0; number < chain_length; number++) {
        if (chain[number].fd < 0) continue;
        chain[number].out.used = 0;
        put(&chain[number], 'Q', NULL, 0);
        flush(&chain[number]);
        close(chain[number].fd);
        chain[number].fd = -1;
    }
    while (header.count) delete_field(&header, header.count - 1);
    free(header.list);
}

static void *run_client(void *unused)
{
    struct filter *chain = calloc(MAX_FILTERS, sizeof *chain);
    struct bytes report = {0};
    (void)unused;
    if (!chain) fail("memory");
    for (int number = 0; number < chain_length; number++) chain[number].fd = -1;
    for (int position; (position = atomic_fetch_add(&taken, 1)) < count;)
        deliver(chain, &messages[first + position], &report);
    pthread_mutex_lock(&results_lock);
    fwrite(report.data, 1, report.used, results);
    pthread_mutex_unlock(&results_lock);
    return NULL;
}

/* ---- the corpus ---- */

static void load(const char *folder)
{
    char path[4096], *line = NULL;
    size_t size = 0;
    struct stat status;
    int total = 0;
    snprintf(path, sizeof path, "%s/messages", folder);
    int fd = open(path, O_RDONLY);
    if (fd < 0 || fstat(fd, &status)) fail(path);
    corpus = mmap(NULL, status.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    if (corpus == MAP_FAILED) fail(path);
    snprintf(path, sizeof path, "%s/envelopes", folder);
    FILE *envelopes = fopen(path, "r");
    if (!envelopes) fail(path);
    while (getline(&line, &size, envelopes) > 0) {
        char *rest = strdup(line);
        struct message m = {0};
        rest[strcspn(rest, "\n")] = 0;
        m.offset = strtoul(strsep(&rest, "\t"), NULL, 10);
        m.size = strtoul(strsep(&rest, "\t"), NULL, 10);
        m.address = strsep(&rest, "\t");
        m.name = strsep(&rest, "\t");
        m.helo = strsep(&rest, "\t");
        m.mail_from = strsep(&rest, "\t");
        while (rest && m.rcpt_count < MAX_RCPTS) m.rcpts[m.rcpt_count++] = strsep(&rest, "\t");
        messages = realloc(messages, (total + 1) * sizeof *messages);
        if (!messages) fail("memory");
        messages[total++] = m;
    }
    fclose(envelopes);
    free(line);
    if (first + count > total) {
        fprintf(stderr, "the corpus has %d messages only\n", total);
        exit(2);
    }
}

int main(int argc, char **argv)
{
    if (argc < 7 || argc > 6 + MAX_FILTERS) {
        fprintf(stderr, "usage: %s CORPUS FIRST COUNT CONNECTIONS RESULTS SOCKET...\n", argv[0]);
        return 2;
    }
    first = atoi(argv[2]);
    count = atoi(argv[3]);
    int connections = atoi(argv[4]);
    for (int i = 6; i < argc; i++) sockets[chain_length++] = argv[i];
    load(argv[1]);
    if (!(results = fopen(argv[5], "w"))) fail(argv[5]);
    pthread_t *threads = calloc(connections, sizeof *threads);
    double start = microseconds();
    for (int i = 0; i < connections; i++)
        if (pthread_create(&threads[i], NULL, run_client, NULL)) fail("thread");
    for (int i = 0; i < connections; i++) pthread_join(threads[i], NULL);
    double wall = (microseconds() - start) / 1e6;
    if (fclose(results)) fail(argv[5]);
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("wall %.6f\ncpu %.6f\n", wall,
           used.ru_utime.tv_sec + used.ru_stime.tv_sec + (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    return 0;
}
