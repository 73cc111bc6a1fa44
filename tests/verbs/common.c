// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * common.c - running test cases; time, memory and files.
 */
#include "common.h"

#include <dirent.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define EXIT_SKIP	77

#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN	1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN	1
#endif
#endif

static bool verbose;
#define CONTEXT_BYTES	256
static char *context;	/* shared with helper processes */

/* ---- sanitizers --------------------------------------------------------- */

#ifdef TEST_TSAN
/*
 * Children of programs with threads open devices of their own. What the tests
 * themselves do with memory is not looked at (see CMakeLists.txt).
 */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "die_after_fork=0:ignore_noninstrumented_modules=1:exitcode=66:second_deadlock_stack=1:history_size=4";
}
#endif

#ifdef HAVE_ASAN
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
	return "exitcode=66:detect_stack_use_after_return=0";
}
#endif

/* TEST_SLOW: so many times slower is the machine, or its kernel. */
static unsigned int machine_slow(void)
{
	const char *text = getenv("TEST_SLOW");
	int times = text ? atoi(text) : 1;

	return times > 1 ? times : 1;
}

unsigned int test_slow(void)
{
#if defined(TEST_TSAN)
	return 6 * machine_slow();
#elif defined(HAVE_ASAN)
	return 3 * machine_slow();
#else
	return machine_slow();
#endif
}

bool test_is_sanitized(void)
{
#if defined(TEST_TSAN) || defined(HAVE_ASAN)
	return true;
#else
	return false;
#endif
}

bool test_is_tsan(void)
{
#ifdef TEST_TSAN
	return true;
#else
	return false;
#endif
}

/* ---- saying what happens ------------------------------------------------ */

void test_failed(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "%s:%d: ", file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	if (context && context[0])
		fprintf(stderr, " [%s]", context);
	fprintf(stderr, "\n");
	fflush(stderr);
	_exit(1);
}

void test_skip(const char *fmt, ...)
{
	va_list ap;

	printf("skipped: ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
	_exit(EXIT_SKIP);
}

void test_note(const char *fmt, ...)
{
	va_list ap;

	if (!verbose)
		return;
	printf("    ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	printf("\n");
	fflush(stdout);
}

void test_context(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(context, CONTEXT_BYTES, fmt, ap);
	va_end(ap);
	test_note("%s", context);
}

/* ---- running cases ------------------------------------------------------ */

static int case_child(const struct test_case *c)
{
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	c->fn();
	exit(0);	/* with the libraries' exit handlers, and LSan's */
}

/* Show where its threads hang, if gdb is there. */
static void show_stacks(pid_t pid)
{
	char cmd[256];

	snprintf(cmd, sizeof(cmd),
		 "command -v gdb >/dev/null && gdb -p %d -batch -ex 'thread apply all bt 16' 2>/dev/null | grep -E '^(Thread|#)' >&2",
		 (int)pid);
	if (verbose && system(cmd))
		fprintf(stderr, "(no stacks)\n");
}

/* Wait for the case's process; its status, or -1 if it took too long. */
static int case_wait(pid_t pid, unsigned int limit_s)
{
	uint64_t end = now_ns() + limit_s * 1000000000ull;
	unsigned int ms = 1;
	int status;

	for (;;) {
		pid_t got = waitpid(pid, &status, WNOHANG);

		if (got == pid)
			return status;
		if (got < 0 || now_ns() > end)
			break;
		sleep_ms(ms);
		if (ms < 20)
			ms++;
	}
	show_stacks(pid);
	kill(pid, SIGABRT);
	sleep_ms(100);
	kill(-pid, SIGKILL);
	waitpid(pid, &status, 0);
	return -1;
}

enum result { PASSED, FAILED, SKIPPED };

static enum result case_run(const char *prog, const struct test_case *c)
{
	unsigned int limit_s = c->limit_s * test_slow();
	uint64_t start = now_ns();
	const char *word;
	enum result r;
	pid_t pid;
	int status;

	context[0] = '\0';
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		perror("fork");
		return FAILED;
	}
	if (!pid)
		case_child(c);
	setpgid(pid, pid);
	status = case_wait(pid, limit_s);
	kill(-pid, SIGKILL);	/* helpers that are left */
	if (status != -1 && WIFEXITED(status) && WEXITSTATUS(status) == 0)
		r = PASSED;
	else if (status != -1 && WIFEXITED(status) &&
		 WEXITSTATUS(status) == EXIT_SKIP)
		r = SKIPPED;
	else
		r = FAILED;
	word = r == PASSED ? "ok" : r == SKIPPED ? "skip" : "FAILED";
	printf("%-6s %s/%s %.2f s", word, prog, c->name,
	       (now_ns() - start) / 1e9);
	if (status == -1)
		printf(" (killed after %u s)", limit_s);
	else if (WIFSIGNALED(status))
		printf(" (signal %d, %s)", WTERMSIG(status),
		       strsignal(WTERMSIG(status)));
	else if (r == FAILED)
		printf(" (exit %d)", WEXITSTATUS(status));
	printf("\n");
	fflush(stdout);
	return r;
}

static bool case_wanted(const char *name, char **names, int n)
{
	int i;

	for (i = 0; i < n; i++)
		if (!strcmp(name, names[i]))
			return true;
	return n == 0;
}

int test_main(int argc, char **argv, const struct test_case *cases)
{
	const char *prog = strrchr(argv[0], '/');
	unsigned int count[3] = { 0 };
	bool in_process = false;
	int opt;

	prog = prog ? prog + 1 : argv[0];
	while ((opt = getopt(argc, argv, "lnv")) != -1) {
		switch (opt) {
		case 'l':
			for (; cases->name; cases++)
				puts(cases->name);
			return 0;
		case 'n':
			in_process = true;
			break;
		case 'v':
			verbose = true;
			break;
		default:
			return 2;
		}
	}
	signal(SIGPIPE, SIG_DFL);
	context = map_shared(CONTEXT_BYTES);
	for (; cases->name; cases++) {
		if (!case_wanted(cases->name, argv + optind, argc - optind))
			continue;
		if (in_process) {
			cases->fn();
			count[PASSED]++;
			continue;
		}
		count[case_run(prog, cases)]++;
	}
	if (count[FAILED])
		return 1;
	return count[PASSED] ? 0 : EXIT_SKIP;
}

/* ---- helper processes --------------------------------------------------- */

pid_t proc_start(void (*fn)(void *arg), void *arg)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	fn(arg);
	exit(0);
}

void proc_finish(pid_t pid)
{
	int status;

	check_eq(waitpid(pid, &status, 0), pid);
	check_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		  "helper process: status 0x%x", status);
}

/* ---- time --------------------------------------------------------------- */

static uint64_t read_clock(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

uint64_t now_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t cpu_ns(void)
{
	return read_clock(CLOCK_PROCESS_CPUTIME_ID);
}

void sleep_ms(unsigned int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000l };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

/* ---- resources ---------------------------------------------------------- */

static unsigned int count_entries(const char *path)
{
	DIR *dir = opendir(path);
	unsigned int n = 0;
	struct dirent *d;

	check(dir);
	while ((d = readdir(dir)))
		if (d->d_name[0] != '.')
			n++;
	closedir(dir);
	return n;
}

unsigned int count_fds(void)
{
	return count_entries("/proc/self/fd") - 1;	/* opendir()'s own */
}

unsigned int count_threads(void)
{
	return count_entries("/proc/self/task");
}

void check_fds(unsigned int max)
{
	uint64_t end = now_ns() + 2000000000ull * test_slow();
	unsigned int n;

	/* The progress thread may be about to close something. */
	while ((n = count_fds()) > max && now_ns() < end)
		sleep_ms(5);
	if (n > max && system("ls -l /proc/$PPID/fd >&2"))
		fprintf(stderr, "(no list)\n");
	check_msg(n <= max, "%u descriptors are open, expected %u", n, max);
}

size_t heap_bytes(void)
{
#if defined(HAVE_ASAN) || defined(TEST_TSAN)
	return 0;
#else
	struct mallinfo2 mi = mallinfo2();

	return mi.uordblks + mi.hblkhd;
#endif
}

size_t rss_bytes(void)
{
	unsigned long size, rss = 0;
	FILE *f = fopen("/proc/self/statm", "r");

	check(f && fscanf(f, "%lu %lu", &size, &rss) == 2);
	fclose(f);
	return rss * sysconf(_SC_PAGESIZE);
}

void *map_shared(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	check_msg(p != MAP_FAILED, "mmap of %zu bytes: %m", bytes);
	return p;
}

void *map_private(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check_msg(p != MAP_FAILED, "mmap of %zu bytes: %m", bytes);
	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

void unmap(void *p, size_t bytes)
{
	check_eq(munmap(p, bytes), 0);
}

/* ---- contents ----------------------------------------------------------- */

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

void fill(void *p, size_t bytes, uint64_t seed)
{
	uint8_t *dst = p;
	uint64_t word;
	size_t i;

	for (i = 0; i < bytes; i += 8) {
		word = mix(seed * 0x100000001b3ull + i);
		memcpy(dst + i, &word, bytes - i < 8 ? bytes - i : 8);
	}
}

void check_fill_at(const char *file, int line, const void *p, size_t bytes,
		   uint64_t seed)
{
	const uint8_t *src = p;
	uint64_t word;
	size_t i;

	for (i = 0; i < bytes; i += 8) {
		word = mix(seed * 0x100000001b3ull + i);
		if (memcmp(src + i, &word, bytes - i < 8 ? bytes - i : 8))
			test_failed(file, line,
				    "wrong data at byte %zu of %zu", i, bytes);
	}
}

void check_bytes_at(const char *file, int line, const void *p, size_t bytes,
		    uint8_t value)
{
	const uint8_t *src = p;
	size_t i;

	for (i = 0; i < bytes; i++)
		if (src[i] != value)
			test_failed(file, line,
				    "byte %zu of %zu is 0x%02x, expected 0x%02x",
				    i, bytes, src[i], value);
}

uint64_t rng_next(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return r->s;
}
