// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * tcpzc-run-child.c - run the program, and be as good as it to the outside
 *
 * The program stays in our process group and on our terminal. What the terminal
 * sends (Ctrl-C, Ctrl-Z, a new window size) it gets by itself; what somebody
 * sends to tcpzc-run with kill is passed on.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tcpzc-run.h"

/* About tcpzc-run itself: its own faults, its own use of the terminal. */
static const int not_forwarded[] = { SIGSEGV, SIGBUS,  SIGFPE,	SIGILL, SIGTRAP,
				     SIGABRT, SIGPIPE, SIGTTIN, SIGTTOU };

/* The signals that the parent waits for instead of being hit by them. */
static void waited_signals(sigset_t *set)
{
	unsigned int i;

	sigfillset(set);
	for (i = 0; i < sizeof(not_forwarded) / sizeof(not_forwarded[0]); i++)
		sigdelset(set, not_forwarded[i]);
}

/* What the program inherits and tcpzc-run has to change for itself. */
struct inherited {
	sigset_t mask;
	struct sigaction chld;
};

/*
 * A script without a first line that names its interpreter: as execvp() and
 * every shell run it.
 */
static void exec_by_shell(char *const argv[], const char *path)
{
	char **sh;
	size_t n = 0;

	while (argv[n])
		n++;
	sh = calloc(n + 2, sizeof(*sh));
	if (!sh)
		return;
	sh[0] = (char *)"sh";
	sh[1] = (char *)path;
	memcpy(sh + 2, argv + 1, (n - 1) * sizeof(*sh));
	execv("/bin/sh", sh);
}

static __attribute__((noreturn)) void exec_program(char *const argv[],
						   const char *path,
						   const struct inherited *old,
						   pid_t parent)
{
	int err;

	/* If tcpzc-run is killed nobody would clear the tree away for it. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_OURS);
	sigaction(SIGCHLD, &old->chld, NULL);
	sigprocmask(SIG_SETMASK, &old->mask, NULL);
	execv(path, argv);
	if (errno == ENOEXEC)
		exec_by_shell(argv, path);
	err = errno;
	warn("%s: %s", path, strerror(err));
	_exit(err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_RUN);
}

/* si_code tells the kernel's signals (from the terminal) from kill()'s. */
static bool from_terminal(const siginfo_t *si)
{
	return si->si_code > 0;
}

static void on_signal(const siginfo_t *si, pid_t child)
{
	if (si->si_code == SI_QUEUE)
		sigqueue(child, si->si_signo, si->si_value);
	else if (!from_terminal(si))
		kill(child, si->si_signo);
	/*
	 * Stop with the program, so that the shell sees a stopped job. The
	 * program has got the signal, from us or from the terminal.
	 */
	if (si->si_signo == SIGTSTP)
		raise(SIGSTOP);
}

/**
 * child_run - run the program and wait for its end
 * @argv: its arguments
 * @path: its file
 *
 * Returns its wait status.
 */
int child_run(char *const argv[], const char *path)
{
	struct sigaction none = { .sa_handler = SIG_DFL };
	pid_t parent = getpid(), child, pid;
	struct inherited old;
	sigset_t set;
	siginfo_t si;
	int status;

	waited_signals(&set);
	/* A caller may have left it ignored, and then there is no SIGCHLD. */
	sigaction(SIGCHLD, &none, &old.chld);
	sigprocmask(SIG_BLOCK, &set, &old.mask);
	child = fork();
	if (child < 0) {
		warn("fork: %s", strerror(errno));
		return EXIT_OURS << 8;
	}
	if (!child)
		exec_program(argv, path, &old, parent);

	for (;;) {
		pid = waitpid(child, &status, WNOHANG);
		if (pid == child)
			return status;
		if (sigwaitinfo(&set, &si) > 0 && si.si_signo != SIGCHLD)
			on_signal(&si, child);
	}
}

/**
 * exit_as - end as the program did
 * @wait_status: as waitpid() gave it
 *
 * After a signal by that signal, which is the only way to tell a shell or a make
 * the whole truth; but without another core dump.
 */
void exit_as(int wait_status)
{
	struct rlimit none = {};
	sigset_t set;
	int sig;

	if (!WIFSIGNALED(wait_status))
		exit(WEXITSTATUS(wait_status));
	sig = WTERMSIG(wait_status);
	setrlimit(RLIMIT_CORE, &none);
	signal(sig, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, sig);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(sig);
	exit(128 + sig);
}
