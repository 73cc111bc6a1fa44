// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * preload-netlink.c - what programs ask RDMA's netlink (NLDEV)
 *
 * libibverbs asks whether memory that is registered must be kept from a child
 * (ibv_fork_init), and iproute2's rdma lists devices and links. They get a socket of
 * NETLINK_USERSOCK, which is a netlink socket in all else; what they send on it is
 * answered here, from the tree. The kernel's own RDMA is not asked: that could load
 * its modules, and its devices cannot be used beside ours.
 *
 * libibverbs and librdmacm also ask for devices, and are told that this is not
 * supported: they look in the tree then. They are recognised by not asking for an
 * acknowledgement.
 *
 * Nobody reads what is sent to the kernel on NETLINK_USERSOCK: it is refused, and then
 * this library answers, by sending from the socket to itself. All users may send to
 * such a socket, so it has a filter that passes only messages that end with a secret,
 * and cuts that off. The filter is part of the socket: by it the socket is recognised
 * and the secret read, after dup(), fork() and exec(), and nothing is kept here.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <rdma/rdma_netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "preload.h"
#include "tcpzc-ids.h"

#define NL_BYTES	1024	/* of a question, of an answer's message */

/* enum rdma_node_type: RDMA_NODE_IB_CA */
#define NL_NODE_CA		1

TZ_NEXT(socket)
TZ_NEXT(open)
TZ_NEXT(sendto)
TZ_NEXT(sendmsg)
TZ_NEXT(send)

/* ---- answers ------------------------------------------------------------- */

#define NL_SECRET_WORDS	2

/* The socket, its address and secret, and the message that is being made. */
struct answer {
	int fd;
	int err; /* the first errno of sending, or 0 */
	struct sockaddr_nl to;
	uint32_t secret[NL_SECRET_WORDS];
	const struct nlmsghdr *question;
	union {
		struct nlmsghdr nlh;
		char bytes[NL_BYTES];
	} msg;
};

static void begin(struct answer *a, unsigned int type, unsigned int flags)
{
	memset(&a->msg, 0, sizeof(a->msg));
	a->msg.nlh.nlmsg_len = NLMSG_HDRLEN;
	a->msg.nlh.nlmsg_type = type;
	a->msg.nlh.nlmsg_flags = flags;
	a->msg.nlh.nlmsg_seq = a->question->nlmsg_seq;
	a->msg.nlh.nlmsg_pid = a->to.nl_pid;
}

static void put_raw(struct answer *a, const void *data, size_t bytes)
{
	size_t room = sizeof(a->msg) - a->msg.nlh.nlmsg_len;

	if (NLMSG_ALIGN(bytes) > room)
		return;
	memcpy(a->msg.bytes + a->msg.nlh.nlmsg_len, data, bytes);
	a->msg.nlh.nlmsg_len += NLMSG_ALIGN(bytes);
}

static void put(struct answer *a, unsigned int attr, const void *data,
		size_t bytes)
{
	struct nlattr nla = { .nla_len = NLA_HDRLEN + bytes, .nla_type = attr };

	if (NLA_HDRLEN + NLA_ALIGN(bytes) >
	    sizeof(a->msg) - a->msg.nlh.nlmsg_len)
		return;
	put_raw(a, &nla, sizeof(nla));
	put_raw(a, data, bytes);
}

static void put_text(struct answer *a, unsigned int attr, const char *text)
{
	put(a, attr, text, strlen(text) + 1);
}

static void put_u8(struct answer *a, unsigned int attr, uint8_t v)
{
	put(a, attr, &v, sizeof(v));
}

static void put_u32(struct answer *a, unsigned int attr, uint32_t v)
{
	put(a, attr, &v, sizeof(v));
}

static void put_u64(struct answer *a, unsigned int attr, uint64_t v)
{
	put(a, attr, &v, sizeof(v));
}

/* What does not fit into the socket's buffer is an error of the question. */
static void finish(struct answer *a)
{
	struct iovec iov[] = {
		{ .iov_base = &a->msg, .iov_len = a->msg.nlh.nlmsg_len },
		{ .iov_base = a->secret, .iov_len = sizeof(a->secret) },
	};
	struct msghdr msg = {
		.msg_name = &a->to,
		.msg_namelen = sizeof(a->to),
		.msg_iov = iov,
		.msg_iovlen = 2,
	};

	if (tz_next_sendmsg()(a->fd, &msg, MSG_DONTWAIT | MSG_NOSIGNAL) < 0 &&
	    !a->err)
		a->err = errno == EAGAIN ? ENOBUFS : errno;
}

/* The last message: @err is a positive errno, or 0. */
static void end(struct answer *a, int err)
{
	struct nlmsgerr e = { .error = -err, .msg = *a->question };
	bool dump = a->question->nlmsg_flags & NLM_F_DUMP;
	int zero = 0;

	if (!err && dump) {
		begin(a, NLMSG_DONE, NLM_F_MULTI);
		put_raw(a, &zero, sizeof(zero));
	} else if (err || (a->question->nlmsg_flags & NLM_F_ACK)) {
		begin(a, NLMSG_ERROR, 0);
		put_raw(a, &e, sizeof(e));
	} else {
		return;
	}
	finish(a);
}

/* ---- the tree's devices -------------------------------------------------- */

/* One line of a file of device @dev; false: there is none. */
static bool read_line(unsigned int dev, const char *name, char *text, size_t room)
{
	char path[TZ_PATH_LEN];
	ssize_t n;
	int fd;

	if (snprintf(path, sizeof(path), "%s/class/infiniband/tcpzc%u/%s",
		     tz_tree_path(), dev, name) >= (int)sizeof(path))
		return false;
	fd = tz_next_open()(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, room - 1);
	close(fd);
	text[n < 0 ? 0 : n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return n >= 0;
}

static unsigned long read_number(unsigned int dev, const char *name)
{
	char text[32];

	return read_line(dev, name, text, sizeof(text)) ?
		       strtoul(text, NULL, 10) : 0;
}

/* "0123:4567:89ab:cdef" */
static uint64_t read_guid(unsigned int dev, const char *name)
{
	uint64_t guid = 0;
	char text[32];
	const char *p;

	if (!read_line(dev, name, text, sizeof(text)))
		return 0;
	for (p = text; *p; p++)
		if (*p != ':')
			guid = guid << 4 | (*p <= '9' ? *p - '0' :
						       (*p | 0x20) - 'a' + 10);
	return guid;
}

static void put_dev(struct answer *a, unsigned int dev)
{
	char name[16];

	snprintf(name, sizeof(name), "tcpzc%u", dev);
	put_u32(a, RDMA_NLDEV_ATTR_DEV_INDEX, dev);
	put_text(a, RDMA_NLDEV_ATTR_DEV_NAME, name);
	put_u32(a, RDMA_NLDEV_ATTR_PORT_INDEX, 1);
}

static void put_device(struct answer *a, unsigned int dev)
{
	char text[32];

	put_dev(a, dev);
	if (read_line(dev, "fw_ver", text, sizeof(text)))
		put_text(a, RDMA_NLDEV_ATTR_FW_VERSION, text);
	put_u64(a, RDMA_NLDEV_ATTR_NODE_GUID, read_guid(dev, "node_guid"));
	put_u64(a, RDMA_NLDEV_ATTR_SYS_IMAGE_GUID,
		read_guid(dev, "sys_image_guid"));
	put_u8(a, RDMA_NLDEV_ATTR_DEV_NODE_TYPE, NL_NODE_CA);
	put_text(a, RDMA_NLDEV_ATTR_DEV_PROTOCOL, "roce");
}

/* The tree has the interface's state of when it was made. */
static bool is_running(const struct answer *a, const char *name)
{
	struct ifreq ifr;

	memset(&ifr, 0, sizeof(ifr));
	strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
	return !ioctl(a->fd, SIOCGIFFLAGS, &ifr) &&
	       (ifr.ifr_flags & IFF_UP) && (ifr.ifr_flags & IFF_RUNNING);
}

static void put_port(struct answer *a, unsigned int dev)
{
	unsigned int ifindex = read_number(dev, TCPZC_SYSFS_IFINDEX);
	char name[IF_NAMESIZE];
	bool there = if_indextoname(ifindex, name);
	bool up = there && is_running(a, name);

	put_dev(a, dev);
	/* IBA 14.2.5.6: 4 is active, 1 is down; 5 is LinkUp, 3 is disabled */
	put_u8(a, RDMA_NLDEV_ATTR_PORT_STATE, up ? 4 : 1);
	put_u8(a, RDMA_NLDEV_ATTR_PORT_PHYS_STATE, up ? 5 : 3);
	if (!there)
		return;
	put_u32(a, RDMA_NLDEV_ATTR_NDEV_INDEX, ifindex);
	put_text(a, RDMA_NLDEV_ATTR_NDEV_NAME, name);
}

/* ---- questions ----------------------------------------------------------- */

/* The attribute @type of the question, a u32; false: it is not there. */
static bool asked_u32(const struct nlmsghdr *nlh, unsigned int type, uint32_t *v)
{
	const char *p = (const char *)nlh + NLMSG_HDRLEN;
	size_t left = nlh->nlmsg_len - NLMSG_HDRLEN;

	while (left >= NLA_HDRLEN) {
		struct nlattr nla;

		memcpy(&nla, p, sizeof(nla));
		if (nla.nla_len < NLA_HDRLEN || nla.nla_len > left)
			return false;
		if ((nla.nla_type & NLA_TYPE_MASK) == type &&
		    nla.nla_len == NLA_HDRLEN + sizeof(*v)) {
			memcpy(v, p + NLA_HDRLEN, sizeof(*v));
			return true;
		}
		if (NLA_ALIGN(nla.nla_len) >= left)
			return false;
		p += NLA_ALIGN(nla.nla_len);
		left -= NLA_ALIGN(nla.nla_len);
	}
	return false;
}

static bool dev_exists(unsigned int dev)
{
	char text[32];

	return read_line(dev, "node_guid", text, sizeof(text));
}

/* Each device, or the one that is asked for, as @each tells it. */
static void tell_devices(struct answer *a,
			 void (*each)(struct answer *a, unsigned int dev))
{
	bool dump = a->question->nlmsg_flags & NLM_F_DUMP;
	uint32_t dev = 0;
	bool one = asked_u32(a->question, RDMA_NLDEV_ATTR_DEV_INDEX, &dev);
	bool found = false;

	for (; dev < TZ_MAX_SERVED && dev_exists(dev); dev++) {
		found = true;
		begin(a, a->question->nlmsg_type, dump ? NLM_F_MULTI : 0);
		each(a, dev);
		finish(a);
		if (one)
			break;
	}
	end(a, one && !found ? ENODEV : 0);
}

static void tell_system(struct answer *a)
{
	begin(a, a->question->nlmsg_type, 0);
	put_u8(a, RDMA_NLDEV_SYS_ATTR_NETNS_MODE, 1);
	/* Nothing is pinned, so a child shares nothing with a device. */
	put_u8(a, RDMA_NLDEV_SYS_ATTR_COPY_ON_FORK, 1);
	finish(a);
	end(a, 0);
}

static void reply(struct answer *a)
{
	unsigned int type = a->question->nlmsg_type;
	bool nldev = RDMA_NL_GET_CLIENT(type) == RDMA_NL_NLDEV;
	bool acked = a->question->nlmsg_flags & NLM_F_ACK;

	switch (nldev ? RDMA_NL_GET_OP(type) : 0) {
	case RDMA_NLDEV_CMD_SYS_GET:
		tell_system(a);
		break;
	case RDMA_NLDEV_CMD_GET:
		if (acked)
			tell_devices(a, put_device);
		else
			end(a, EOPNOTSUPP);
		break;
	case RDMA_NLDEV_CMD_PORT_GET:
		tell_devices(a, put_port);
		break;
	default:
		end(a, EOPNOTSUPP);
		break;
	}
}

/* @a has the socket and its secret. The refused attempt to send has bound the socket. */
static ssize_t ask(struct answer *a, const struct nlmsghdr *question, size_t bytes)
{
	socklen_t len = sizeof(a->to);

	if (bytes < NLMSG_HDRLEN || question->nlmsg_len < NLMSG_HDRLEN ||
	    question->nlmsg_len > bytes) {
		errno = EINVAL;
		return -1;
	}
	if (getsockname(a->fd, (struct sockaddr *)&a->to, &len))
		return -1;
	a->question = question;
	reply(a);
	if (a->err) {
		errno = a->err;
		return -1;
	}
	return bytes;
}

static ssize_t ask_vec(struct answer *a, const struct iovec *iov, size_t num)
{
	union {
		struct nlmsghdr nlh;
		char bytes[NL_BYTES];
	} question;
	size_t bytes = 0, i;

	for (i = 0; i < num; i++) {
		if (iov[i].iov_len > sizeof(question) - bytes) {
			errno = EMSGSIZE;
			return -1;
		}
		memcpy(question.bytes + bytes, iov[i].iov_base, iov[i].iov_len);
		bytes += iov[i].iov_len;
	}
	return ask(a, &question.nlh, bytes);
}

/* ---- the sockets --------------------------------------------------------- */

/* "tcpz": the first instruction, which does nothing, says whose filter this is. */
#define NL_TAG		0x7463707a
/* Where the words of the secret stand, and how many instructions there are */
#define NL_WORD_0	5
#define NL_WORD_1	7
#define NL_INSNS	11

/* Passes all but the last 8 bytes of a message that ends with @secret. */
static void make_filter(struct sock_filter f[NL_INSNS],
			const uint32_t secret[NL_SECRET_WORDS])
{
	const struct sock_filter insns[NL_INSNS] = {
		BPF_STMT(BPF_LD | BPF_IMM, NL_TAG),
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 4 * NL_SECRET_WORDS),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
		[NL_WORD_0] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, secret[0], 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_IND, 4),
		[NL_WORD_1] = BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, secret[1], 0, 2),
		BPF_STMT(BPF_MISC | BPF_TXA, 0),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};

	memcpy(f, insns, sizeof(insns));
}

/* BPF loads words in network order. */
static bool add_filter(int fd)
{
	struct sock_filter f[NL_INSNS];
	struct sock_fprog prog = { .len = NL_INSNS, .filter = f };
	uint32_t secret[NL_SECRET_WORDS];

	if (getrandom(secret, sizeof(secret), 0) != sizeof(secret))
		return false;
	make_filter(f, secret);
	return !setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog,
			   sizeof(prog));
}

/* SO_GET_FILTER counts instructions. */
static bool read_secret(int fd, uint32_t secret[NL_SECRET_WORDS])
{
	struct sock_filter f[NL_INSNS], want[NL_INSNS];
	socklen_t num = NL_INSNS;

	if (getsockopt(fd, SOL_SOCKET, SO_GET_FILTER, f, &num) ||
	    num != NL_INSNS)
		return false;
	secret[0] = f[NL_WORD_0].k;
	secret[1] = f[NL_WORD_1].k;
	make_filter(want, secret);
	secret[0] = htonl(secret[0]);
	secret[1] = htonl(secret[1]);
	return !memcmp(f, want, sizeof(want));
}

/* Where there is no netlink, it is as in a kernel without RDMA. */
static int rdma_socket(int type)
{
	int fd = tz_next_socket()(AF_NETLINK, type, NETLINK_USERSOCK);

	if (fd >= 0 && add_filter(fd))
		return fd;
	if (fd >= 0)
		close(fd);
	errno = EPROTONOSUPPORT;
	return -1;
}

TZ_EXPORT int socket(int domain, int type, int protocol)
{
	if (domain == AF_NETLINK && protocol == NETLINK_RDMA && tz_have_tree())
		return rdma_socket(type);
	return tz_next_socket()(domain, type, protocol);
}

/* @rc is what sending has returned. Of other sockets that, and errno, are left alone. */
static __attribute__((noinline)) ssize_t
refused(int fd, const struct iovec *iov, size_t num, ssize_t rc)
{
	struct answer a = { .fd = fd };

	if (!tz_have_tree() || !read_secret(fd, a.secret)) {
		errno = ECONNREFUSED;
		return rc;
	}
	return ask_vec(&a, iov, num);
}

static inline bool is_refused(ssize_t rc)
{
	return __builtin_expect(rc < 0, 0) && errno == ECONNREFUSED;
}

TZ_EXPORT ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	ssize_t rc = tz_next_send()(fd, buf, len, flags);

	return is_refused(rc) ? refused(fd, &iov, 1, rc) : rc;
}

TZ_EXPORT ssize_t sendto(int fd, const void *buf, size_t len, int flags,
			 __CONST_SOCKADDR_ARG addr, socklen_t addrlen)
{
	struct iovec iov = { .iov_base = (void *)buf, .iov_len = len };
	ssize_t rc = tz_next_sendto()(fd, buf, len, flags, addr, addrlen);

	return is_refused(rc) ? refused(fd, &iov, 1, rc) : rc;
}

TZ_EXPORT ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t rc = tz_next_sendmsg()(fd, msg, flags);

	return is_refused(rc) ? refused(fd, msg->msg_iov, msg->msg_iovlen, rc) :
				rc;
}
