// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/* Processes, namespaces and sockets for raw_tcp. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "raw.h"

#define SERVER_ADDRESS	"198.18.0.1"
#define CLIENT_ADDRESS	"198.18.0.2"

struct path {
	int ns[RAW_SIDES];
	const char *address;
};

double raw_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

void raw_die(const char *what)
{
	perror(what);
	_exit(1);
}

void raw_pin(int cpu)
{
	cpu_set_t set;

	if (cpu < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		raw_die("sched_setaffinity");
}

void *raw_alloc(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (p == MAP_FAILED)
		raw_die("mmap");
	memset(p, 0x5a, bytes);
	return p;
}

static int wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, -1);
}

int raw_wait_readable(int fd)
{
	return wait_for(fd, POLLIN);
}

int raw_wait_writable(int fd)
{
	return wait_for(fd, POLLOUT);
}

static void shell(const char *command)
{
	if (system(command)) {
		fprintf(stderr, "raw_tcp: failed: %s\n", command);
		_exit(1);
	}
}

static int open_namespace(long pid)
{
	char name[64];
	int fd;

	snprintf(name, sizeof(name), "/proc/%ld/ns/net", pid);
	fd = open(name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		raw_die(name);
	return fd;
}

/*
 * The namespaces have no names: only this process and its children hold them,
 * so they are gone with the last of these, however it ends.
 */
static void path_make_veth(struct path *path)
{
	char command[256];

	for (int side = 0; side < RAW_SIDES; side++) {
		if (unshare(CLONE_NEWNET))
			raw_die("unshare (root, or run under unshare -rn)");
		path->ns[side] = open_namespace(getpid());
	}
	snprintf(command, sizeof(command),
		 "ip link add tzbc type veth peer name tzbs && "
		 "ip link set tzbs netns /proc/%d/fd/%d && "
		 "ip addr add " CLIENT_ADDRESS "/30 dev tzbc && ip link set lo up && "
		 "ip link set tzbc up", getpid(), path->ns[RAW_SERVER]);
	shell(command);
	if (setns(path->ns[RAW_SERVER], CLONE_NEWNET))
		raw_die("setns");
	shell("ip addr add " SERVER_ADDRESS "/30 dev tzbs && ip link set lo up && "
	      "ip link set tzbs up");
	path->address = SERVER_ADDRESS;
}

static void path_open(struct path *path, const struct raw_options *opt)
{
	path->ns[RAW_SERVER] = path->ns[RAW_CLIENT] = -1;
	path->address = opt->address ? opt->address : "127.0.0.1";
	if (opt->ns_pid[RAW_SERVER]) {
		for (int side = 0; side < RAW_SIDES; side++)
			path->ns[side] = open_namespace(opt->ns_pid[side]);
	} else if (opt->veth) {
		path_make_veth(path);
	}
}

static void path_enter(const struct path *path, enum raw_side side)
{
	if (path->ns[side] >= 0 && setns(path->ns[side], CLONE_NEWNET))
		raw_die("setns");
}

static void set_int(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)))
		raw_die("setsockopt");
}

static int open_socket(const struct raw_options *opt)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		raw_die("socket");
	set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	if (opt->sndbuf_bytes)
		set_int(fd, SOL_SOCKET, SO_SNDBUF, opt->sndbuf_bytes);
	if (opt->rcvbuf_bytes)
		set_int(fd, SOL_SOCKET, SO_RCVBUF, opt->rcvbuf_bytes);
	if (opt->rcvlowat_bytes)
		set_int(fd, SOL_SOCKET, SO_RCVLOWAT, opt->rcvlowat_bytes);
	if (opt->congestion &&
	    setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, opt->congestion,
		       (socklen_t)strlen(opt->congestion)))
		raw_die("TCP_CONGESTION");
	return fd;
}

/* Both listener and connection come to be before the fork: no port races. */
static int listen_on(const struct raw_options *opt, const struct path *path,
		     struct sockaddr_in *addr)
{
	socklen_t len = sizeof(*addr);
	int fd;

	path_enter(path, RAW_SERVER);
	fd = open_socket(opt);
	memset(addr, 0, sizeof(*addr));
	addr->sin_family = AF_INET;
	if (inet_pton(AF_INET, path->address, &addr->sin_addr) != 1)
		raw_die("address");
	if (bind(fd, (struct sockaddr *)addr, sizeof(*addr)) || listen(fd, 1) ||
	    getsockname(fd, (struct sockaddr *)addr, &len))
		raw_die("listen");
	return fd;
}

static void open_pair(const struct raw_options *opt, int fds[RAW_SIDES])
{
	struct sockaddr_in addr;
	struct path path;
	int listener;

	path_open(&path, opt);
	listener = listen_on(opt, &path, &addr);
	path_enter(&path, RAW_CLIENT);
	fds[RAW_CLIENT] = open_socket(opt);
	if (connect(fds[RAW_CLIENT], (struct sockaddr *)&addr, sizeof(addr)))
		raw_die("connect");
	fds[RAW_SERVER] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	if (fds[RAW_SERVER] < 0)
		raw_die("accept");
	set_int(fds[RAW_SERVER], IPPROTO_TCP, TCP_NODELAY, 1);
	close(listener);
}

static void account(struct raw_result *res, enum raw_side side)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	res->cpu_user[side] = (double)ru.ru_utime.tv_sec + (double)ru.ru_utime.tv_usec * 1e-6;
	res->cpu_system[side] = (double)ru.ru_stime.tv_sec + (double)ru.ru_stime.tv_usec * 1e-6;
}

static pid_t start_side(const struct raw_options *opt, const int fds[RAW_SIDES],
			enum raw_side side, raw_child_fn *run, struct raw_result *res)
{
	pid_t pid = fork();

	if (pid < 0)
		raw_die("fork");
	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(fds[!side]);
	raw_pin(opt->cpu[side]);
	run(opt, fds[side], res);
	account(res, side);
	_exit(0);
}

void raw_run_pair(const struct raw_options *opt, raw_child_fn *server,
		  raw_child_fn *client, struct raw_result *res)
{
	raw_child_fn *run[RAW_SIDES] = { server, client };
	struct raw_result *shared;
	int fds[RAW_SIDES], status;
	bool failed = false;

	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		raw_die("mmap");
	open_pair(opt, fds);
	for (int side = 0; side < RAW_SIDES; side++)
		start_side(opt, fds, side, run[side], shared);
	close(fds[RAW_SERVER]);
	close(fds[RAW_CLIENT]);
	while (wait(&status) > 0)
		failed |= status != 0;
	if (failed)
		exit(1);
	*res = *shared;
	munmap(shared, sizeof(*shared));
}
