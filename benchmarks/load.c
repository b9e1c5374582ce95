/*
 * A load generator for held requests: one process, plain sockets, epoll. It keeps its connections from one round to the next.
 *
 * It reads orders from standard input, one JSON object a line, and answers each with one line (load.py is the Python side):
 *
 *   {"do": "open", "port": 8080, "count": 10700, "path": "/wait"}   connects, and sends a GET on each connection
 *   {"do": "send", "path": "/wait"}                                 sends another GET on each connection
 *   {"do": "collect", "seconds": 60}                                waits until each connection has its whole answer
 *   {"do": "collect", "seconds": 60, "mark": "COMPLETED"}           on streams: waits until each has brought these bytes
 *   {"do": "storm", "port": 8080, "rate": 3300, "seconds": 10, "path": "/wait"}
 *                                                                   connects so many times a second for so long, sends a GET
 *                                                                   each time, and closes each connection after its answer
 *   {"do": "close"}                                                 closes all connections
 *
 * In a path, {} stands for the connection's number: 1 for the first one. Without "path", "open" only connects. "accept" is the
 * value of the Accept header. "look" is the number of seconds between two looks for answers; see collect().
 *
 * Times are those of CLOCK_MONOTONIC, which all processes of a host share (time.monotonic in Python). The generator connects
 * to loopback only, opens at most 60,000 connections, waits at most 15 minutes, and ends with its standard input.
 */

#define _GNU_SOURCE /* memmem, strcasestr */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    MOST_CONNECTIONS = 60000,
    MOST_SECONDS = 900,
    MOST_LINE = 16384,   /* bytes of an order */
    MOST_TEXT = 8192,    /* bytes of a path, with its terminating zero */
    MOST_MARK = 64,      /* bytes of a mark */
    MOST_SAMPLE = 4000,  /* bytes of the sample of an answer */
    CONNECT_SECONDS = 60,
    MOST_IN_STORM = 15000, /* connections of a storm that wait for their answers */
    KEPT_LINE = 120,     /* bytes of a header line that are looked at */
    READ_SIZE = 65536,
};

/* Seconds between two looks, and the most that one look waits for an answer. */
static const double LOOK = 0.001;
static const int QUIET_MS = 500;

/* What epoll reports for standard input; connections have their index. */
static const uint32_t STANDARD_INPUT = UINT32_MAX;

/* What the next byte of a connection belongs to. */
enum part { NOTHING, HEAD, BODY, UNTIL_CLOSE, CHUNK_SIZE, CHUNK, CHUNK_END, TRAILER };

struct connection {
    int fd;               /* -1 if closed */
    enum part part;       /* NOTHING: no request is unanswered */
    int status;           /* of the answer that is being read */
    bool chunked;
    long long left;       /* bytes of the body or chunk that are still to come; -1 if the head gives no length */
    int line_length;      /* bytes of the line that have come; of them KEPT_LINE are kept */
    char line[KEPT_LINE + 1];
    bool marked;          /* the mark has come in this collection */
    int tail_length;      /* the last bytes that came, where a mark may have begun */
    char tail[MOST_MARK];
};

/* One order, as read from a line. */
struct order {
    char what[16];
    char path[MOST_TEXT];
    char accept[256];
    char mark[MOST_MARK + 1];
    double port, count, seconds, look, rate;
};

/* What one collection has found. */
struct report {
    long answered, lost, malformed, left;
    double first, last;
    unsigned long long bytes, surplus;
    long statuses[1000];
    const struct connection *sampled;
    size_t sample_length;
    char sample[MOST_SAMPLE];
};

static struct connection connections[MOST_CONNECTIONS];
static struct epoll_event ready[MOST_CONNECTIONS + 1];
static long opened;       /* connections that were ever opened, closed ones too */
static int epoll, port;

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void sleep_for(double seconds)
{
    struct timespec pause = {(time_t)seconds, (long)(1e9 * (seconds - (double)(time_t)seconds))};
    if (seconds > 0)
        nanosleep(&pause, NULL);
}

/* ---- what comes out: one line of JSON for each order */

/* Answer that an order cannot be carried out, and why. */
static void refuse(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    printf("{\"wrong\": \"");
    vprintf(format, values);
    printf("\"}\n");
    va_end(values);
}

/* Print bytes as a JSON string; what is not printable ASCII is printed as '?', but for line ends and tabs. */
static void print_string(const char *bytes, size_t length)
{
    putchar('"');
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)bytes[i];
        if (c == '"' || c == '\\')
            printf("\\%c", c);
        else if (c == '\r' || c == '\n' || c == '\t')
            printf("\\%c", c == '\r' ? 'r' : c == '\n' ? 'n' : 't');
        else
            putchar(c >= 0x20 && c < 0x7f ? c : '?');
    }
    putchar('"');
}

/* ---- what comes in: one flat JSON object of strings and numbers a line */

static const char *skip_space(const char *at)
{
    return at + strspn(at, " \t\r\n");
}

/* Read a JSON string of ASCII characters; return what follows it, or NULL if it is none or longer than size - 1 bytes. */
static const char *read_string(const char *at, char *into, size_t size)
{
    size_t length = 0;
    if (*at++ != '"')
        return NULL;
    for (; *at != '"'; at++) {
        char c = *at;
        if (c == '\\') {
            c = *++at;
            if (c == 'n' || c == 't' || c == 'r')
                c = c == 'n' ? '\n' : c == 't' ? '\t' : '\r';
            else if (c != '"' && c != '\\' && c != '/')
                return NULL;
        }
        if (c == '\0' || length + 1 >= size)
            return NULL;
        into[length++] = c;
    }
    into[length] = '\0';
    return at + 1;
}

/* Read a number; return what follows it, or NULL if it is none, negative, or more than most. */
static const char *read_number(const char *at, double *into, double most)
{
    char *end;
    *into = strtod(at, &end);
    return end > at && *into >= 0 && *into <= most ? end : NULL;
}

/* Read one order; return whether it was understood (otherwise the refusal has been printed). */
static bool read_order(const char *line, struct order *order)
{
    const char *at = skip_space(line);
    char name[16];
    memset(order, 0, sizeof *order);
    strcpy(order->accept, "*/*");
    order->seconds = MOST_SECONDS;
    order->look = LOOK;
    if (*at != '{')
        goto malformed;
    do {
        at = read_string(skip_space(at + 1), name, sizeof name);
        if (at == NULL || *(at = skip_space(at)) != ':')
            goto malformed;
        at = skip_space(at + 1);
        if (strcmp(name, "do") == 0)
            at = read_string(at, order->what, sizeof order->what);
        else if (strcmp(name, "path") == 0)
            at = read_string(at, order->path, sizeof order->path);
        else if (strcmp(name, "accept") == 0)
            at = read_string(at, order->accept, sizeof order->accept);
        else if (strcmp(name, "mark") == 0)
            at = read_string(at, order->mark, sizeof order->mark);
        else if (strcmp(name, "seconds") == 0)
            at = read_number(at, &order->seconds, MOST_SECONDS);
        else if (strcmp(name, "look") == 0)
            at = read_number(at, &order->look, 1);
        else if (strcmp(name, "port") == 0)
            at = read_number(at, &order->port, 65535);
        else if (strcmp(name, "rate") == 0)
            at = read_number(at, &order->rate, 100000);
        else if (strcmp(name, "count") == 0)
            at = read_number(at, &order->count, MOST_CONNECTIONS);
        else {
            refuse("there is no field '%s'", name);
            return false;
        }
        if (at == NULL) {
            refuse("the value of '%s' is malformed, too long or out of range", name);
            return false;
        }
        at = skip_space(at);
    } while (*at == ',');
    if (*at == '}' && *skip_space(at + 1) == '\0')
        return true;
malformed:
    refuse("expected one JSON object of strings and numbers a line");
    return false;
}

/* ---- requests */

static void drop(struct connection *connection)
{
    close(connection->fd); /* epoll forgets it by itself */
    connection->fd = -1;
    connection->part = NOTHING;
}

static void expect_answer(struct connection *connection)
{
    connection->part = HEAD;
    connection->status = 0;
    connection->chunked = false;
    connection->left = -1;
    connection->line_length = 0;
}

/* Send a GET; each {} of the path becomes the connection's number. Return whether the socket took all of it. */
static bool send_get(struct connection *connection, const struct order *order)
{
    static char request[3 * MOST_TEXT + 1024]; /* a number has at most five digits where {} has two characters */
    const long number = connection - connections + 1;
    const char *path = order->path, *brace;
    size_t length = (size_t)sprintf(request, "GET ");
    for (; (brace = strstr(path, "{}")) != NULL; path = brace + 2)
        length += (size_t)sprintf(request + length, "%.*s%ld", (int)(brace - path), path, number);
    length += (size_t)sprintf(request + length,
                              "%s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAccept: %s\r\nUser-Agent: load\r\n\r\n",
                              path, port, order->accept);
    expect_answer(connection);
    return send(connection->fd, request, length, MSG_NOSIGNAL) == (ssize_t)length;
}

/* Open one more connection; return NULL on success, or which call failed (errno tells why). */
static const char *connect_one(struct connection *connection, const struct order *order)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct epoll_event event = {.events = EPOLLIN, .data = {.u32 = (uint32_t)(connection - connections)}};
    struct timeval timeout = {.tv_sec = CONNECT_SECONDS};
    const int yes = 1;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(connection, 0, sizeof *connection);
    connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection->fd < 0)
        return "socket";
    setsockopt(connection->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof timeout); /* bounds connect() too */
    setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(connection->fd, (struct sockaddr *)&address, sizeof address) < 0)
        return "connect";
    if (fcntl(connection->fd, F_SETFL, O_NONBLOCK) < 0)
        return "fcntl";
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, connection->fd, &event) < 0)
        return "epoll_ctl";
    if (order->path[0] != '\0' && !send_get(connection, order))
        return "send";
    return NULL;
}

static long count_open(void)
{
    long count = 0;
    for (long i = 0; i < opened; i++)
        count += connections[i].fd >= 0;
    return count;
}

static void do_open(const struct order *order)
{
    const long count = (long)order->count;
    if (count < 1 || opened + count > MOST_CONNECTIONS) {
        refuse("expected a count of 1 to %d connections, all that are open included", MOST_CONNECTIONS);
        return;
    }
    port = (int)order->port;
    for (long i = 0; i < count; i++) {
        const char *failed = connect_one(&connections[opened], order);
        if (failed != NULL) {
            const char *why = strerror(errno);
            if (connections[opened].fd >= 0)
                drop(&connections[opened]);
            refuse("connection %ld: %s: %s", opened + 1, failed, why);
            return;
        }
        opened++;
    }
    printf("{\"open\": %ld}\n", count_open());
}

static void do_send(const struct order *order)
{
    const double began = seconds_now();
    long sent = 0, failed = 0;
    if (order->path[0] == '\0') {
        refuse("send needs a path");
        return;
    }
    for (long i = 0; i < opened; i++)
        if (connections[i].part != NOTHING) {
            refuse("connection %ld has not had its whole answer yet", i + 1);
            return;
        }
    for (long i = 0; i < opened; i++) {
        if (connections[i].fd < 0)
            continue;
        if (send_get(&connections[i], order))
            sent++;
        else {
            drop(&connections[i]);
            failed++;
        }
    }
    printf("{\"sent\": %ld, \"failed\": %ld, \"seconds\": %.6f}\n", sent, failed, seconds_now() - began);
}

static void do_close(void)
{
    for (long i = 0; i < opened; i++)
        if (connections[i].fd >= 0)
            drop(&connections[i]);
    opened = 0;
    printf("{\"open\": 0}\n");
}

/* ---- answers */

/* The whole answer has been read. */
static void answer_is_whole(struct connection *connection, struct report *report)
{
    connection->part = NOTHING;
    report->statuses[connection->status]++;
}

/* One whole line without its line end, or the first KEPT_LINE bytes of it. Return whether it is as HTTP/1.1 has it. */
static bool take_line(struct connection *connection, struct report *report)
{
    const char *line = connection->line;
    const bool empty = connection->line_length == 0;
    char *end;
    switch (connection->part) {
    case HEAD:
        if (connection->status == 0) {
            if (strncmp(line, "HTTP/1.", 7) != 0 || line[7] == '\0' || line[8] != ' ')
                return false;
            connection->status = (int)strtol(line + 9, &end, 10);
            return end == line + 12 && connection->status >= 100;
        }
        if (strncasecmp(line, "content-length:", 15) == 0) {
            connection->left = strtoll(line + 15, &end, 10);
            return end > line + 15 && connection->left >= 0;
        }
        if (strncasecmp(line, "transfer-encoding:", 18) == 0)
            connection->chunked = strcasestr(line + 18, "chunked") != NULL;
        if (!empty)
            return true;
        if (connection->status < 200)
            expect_answer(connection); /* an interim answer: the answer itself follows */
        else if (connection->status == 204 || connection->status == 304)
            answer_is_whole(connection, report);
        else if (connection->chunked)
            connection->part = CHUNK_SIZE;
        else if (connection->left == 0)
            answer_is_whole(connection, report);
        else
            connection->part = connection->left > 0 ? BODY : UNTIL_CLOSE;
        return true;
    case CHUNK_SIZE:
        connection->left = strtoll(line, &end, 16);
        connection->part = connection->left > 0 ? CHUNK : TRAILER;
        return end > line && connection->left >= 0;
    case CHUNK_END:
        connection->part = CHUNK_SIZE;
        return empty;
    default: /* TRAILER */
        if (empty)
            answer_is_whole(connection, report);
        return true;
    }
}

/* Read on in an answer with the bytes that have come. Return whether they are as HTTP/1.1 has it. */
static bool read_answer(struct connection *connection, struct report *report, const char *data, size_t length)
{
    while (length > 0) {
        size_t used = length;
        const char *newline;
        switch (connection->part) {
        case NOTHING:
            report->surplus += length;
            return true;
        case UNTIL_CLOSE:
            return true;
        case BODY:
        case CHUNK:
            if ((long long)used > connection->left)
                used = (size_t)connection->left;
            connection->left -= (long long)used;
            if (connection->left == 0 && connection->part == CHUNK)
                connection->part = CHUNK_END;
            else if (connection->left == 0)
                answer_is_whole(connection, report);
            break;
        default: /* a line, or a part of one */
            newline = memchr(data, '\n', length);
            if (newline != NULL)
                used = (size_t)(newline - data);
            for (size_t i = 0; i < used && connection->line_length < KEPT_LINE; i++)
                connection->line[connection->line_length++] = data[i];
            if (newline == NULL)
                break;
            used++;
            if (connection->line_length > 0 && connection->line[connection->line_length - 1] == '\r')
                connection->line_length--;
            connection->line[connection->line_length] = '\0';
            const bool good = take_line(connection, report);
            connection->line_length = 0;
            if (!good)
                return false;
        }
        data += used;
        length -= used;
    }
    return true;
}

/*
 * Look for the mark in the bytes that have come. They stand MOST_MARK bytes behind the beginning of a buffer: what came before
 * them is put there. The framing of chunks is not taken away: a mark that is cut in two by it is not found.
 */
static bool find_mark(struct connection *connection, char *data, size_t length, const char *mark)
{
    const size_t mark_length = strlen(mark);
    const size_t before = (size_t)connection->tail_length;
    char *begin = data - before;
    memcpy(begin, connection->tail, before);
    length += before;
    if (memmem(begin, length, mark, mark_length) != NULL) {
        connection->tail_length = 0;
        return true;
    }
    const size_t keep = length < mark_length ? length : mark_length - 1;
    memcpy(connection->tail, begin + length - keep, keep);
    connection->tail_length = (int)keep;
    return false;
}

static void keep_sample(struct report *report, const struct connection *connection, const char *data, size_t length)
{
    if (report->sampled == NULL)
        report->sampled = connection;
    if (report->sampled != connection)
        return;
    if (length > MOST_SAMPLE - report->sample_length)
        length = MOST_SAMPLE - report->sample_length;
    memcpy(report->sample + report->sample_length, data, length);
    report->sample_length += length;
}

static void note_arrival(struct report *report)
{
    const double now = seconds_now();
    if (report->answered++ == 0)
        report->first = now;
    report->last = now;
    report->left--;
}

/* Read once from a connection that has something to be read. */
static void look_at(struct connection *connection, struct report *report, const char *mark)
{
    static char buffer[MOST_MARK + READ_SIZE];
    char *data = buffer + MOST_MARK;
    const bool marks = mark[0] != '\0';
    const bool awaited = marks ? !connection->marked : connection->part != NOTHING;
    if (connection->fd < 0)
        return;
    const ssize_t length = read(connection->fd, data, READ_SIZE);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0) {
        if (!marks && length == 0 && connection->part == UNTIL_CLOSE) {
            answer_is_whole(connection, report);
            note_arrival(report);
        } else if (awaited) {
            report->lost++;
            report->left--;
        }
        drop(connection);
        return;
    }
    report->bytes += (unsigned long long)length;
    keep_sample(report, connection, data, (size_t)length);
    if (!read_answer(connection, report, data, (size_t)length)) {
        report->malformed++;
        report->left -= awaited;
        drop(connection);
        return;
    }
    if (!awaited)
        return;
    if (marks) {
        connection->marked = find_mark(connection, data, (size_t)length, mark);
        if (connection->marked)
            note_arrival(report);
        else if (connection->part == NOTHING) { /* the stream has ended without it */
            report->lost++;
            report->left--;
            drop(connection);
        }
    } else if (connection->part == NOTHING)
        note_arrival(report);
}

static void print_statuses(const struct report *report)
{
    const char *comma = "";
    for (int status = 0; status < 1000; status++)
        if (report->statuses[status] > 0) {
            printf("%s\"%d\": %ld", comma, status, report->statuses[status]);
            comma = ", ";
        }
}

static void print_report(const struct report *report)
{
    printf("{\"answered\": %ld, \"errors\": %ld, \"lost\": %ld, \"malformed\": %ld, \"late\": %ld, \"surplus\": %llu, ",
           report->answered, report->lost + report->malformed + report->left, report->lost, report->malformed, report->left,
           report->surplus);
    if (report->answered > 0)
        printf("\"first\": %.6f, \"last\": %.6f, ", report->first, report->last);
    else
        printf("\"first\": null, \"last\": null, ");
    printf("\"statuses\": {");
    print_statuses(report);
    printf("}, \"bytes\": %llu, \"sample\": ", report->bytes);
    print_string(report->sample, report->sample_length);
    printf("}\n");
}

/*
 * Wait for an answer on each connection that has asked (with a mark: on each that is open).
 *
 * Between two looks the generator sleeps for a fixed time, and does not wait for the sockets meanwhile. With a client on its
 * host, to wake it for each answer costs a server more than to send the answer. Only if a look finds nothing it waits for
 * the next answer. What has come is read once; a connection with more to read is reported again at the next look.
 */
static void do_collect(const struct order *order)
{
    static struct report report;
    const double until = seconds_now() + order->seconds;
    const bool marks = order->mark[0] != '\0';
    memset(&report, 0, sizeof report);
    for (long i = 0; i < opened; i++) {
        connections[i].marked = false;
        connections[i].tail_length = 0;
        report.left += marks ? connections[i].fd >= 0 : connections[i].part != NOTHING;
    }
    while (report.left > 0) {
        const double now = seconds_now();
        if (now >= until)
            break;
        sleep_for(order->look);
        const double wait = 1000 * (until - now) + 1;
        const int count = epoll_wait(epoll, ready, MOST_CONNECTIONS + 1, wait < QUIET_MS ? (int)wait : QUIET_MS);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.u32 == STANDARD_INPUT)
                exit(0); /* its other end is closed */
            look_at(&connections[ready[i].data.u32], &report, order->mark);
        }
    }
    print_report(&report);
}

/*
 * Connect at a rate, whatever becomes of the answers; those that have come are read between two milliseconds. The last answers
 * have a minute more. Where very many wait, or one cannot be connected for a while, the rate is less: see "seconds".
 */
static void do_storm(const struct order *order)
{
    static struct report report;
    const double began = seconds_now();
    const long first = opened;
    const long most = (long)(order->rate * order->seconds);
    if (most < 1 || first + most > MOST_CONNECTIONS || order->path[0] == '\0') {
        refuse("storm needs a path, a rate and seconds that make 1 to %d connections", MOST_CONNECTIONS);
        return;
    }
    memset(&report, 0, sizeof report);
    port = (int)order->port;
    double ended = began;
    while (opened - first < most || (report.left > 0 && seconds_now() < ended + CONNECT_SECONDS)) {
        sleep_for(LOOK);
        long due = (long)((seconds_now() - began) * order->rate);
        for (due = due < most ? due : most; opened - first < due && report.left < MOST_IN_STORM; opened++) {
            const char *failed = connect_one(&connections[opened], order);
            if (failed != NULL) {
                refuse("connection %ld: %s: %s", opened + 1, failed, strerror(errno));
                return;
            }
            report.left++;
            ended = seconds_now();
        }
        const int count = epoll_wait(epoll, ready, MOST_CONNECTIONS + 1, 0);
        for (int i = 0; i < count; i++) {
            if (ready[i].data.u32 == STANDARD_INPUT)
                exit(0); /* its other end is closed */
            struct connection *connection = &connections[ready[i].data.u32];
            look_at(connection, &report, "");
            if (connection->fd >= 0 && connection->part == NOTHING)
                drop(connection);
        }
    }
    printf("{\"connected\": %ld, \"seconds\": %.3f, \"answered\": %ld, \"lost\": %ld, \"late\": %ld, \"last\": %.3f, \"statuses\": {",
           opened - first, ended - began, report.answered, report.lost + report.malformed, report.left, report.last - began);
    print_statuses(&report);
    printf("}}\n");
}

/* ---- */

int main(void)
{
    static char line[MOST_LINE];
    static struct order order;
    struct rlimit files;
    struct epoll_event hang_up = {.events = 0, .data = {.u32 = STANDARD_INPUT}}; /* EPOLLHUP is always reported */
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) {
        perror("epoll_create1");
        return 1;
    }
    epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &hang_up); /* fails for a file, whose end is read instead */
    while (fgets(line, sizeof line, stdin) != NULL) {
        if (strchr(line, '\n') == NULL && !feof(stdin)) {
            refuse("an order has at most %d bytes", MOST_LINE - 2);
            fflush(stdout);
            return 1;
        }
        if (read_order(line, &order)) {
            if (strcmp(order.what, "open") == 0)
                do_open(&order);
            else if (strcmp(order.what, "send") == 0)
                do_send(&order);
            else if (strcmp(order.what, "collect") == 0)
                do_collect(&order);
            else if (strcmp(order.what, "storm") == 0)
                do_storm(&order);
            else if (strcmp(order.what, "close") == 0)
                do_close();
            else
                refuse("expected open, send, collect, storm or close");
        }
        fflush(stdout);
    }
    return 0;
}
