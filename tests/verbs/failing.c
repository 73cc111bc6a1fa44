// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * failing.c - allocations fail in the kernel. Each verb is called with its first, its
 * second, its third, ... allocation failing until none is left to fail: it fails with
 * ENOMEM and leaves nothing behind, or it works. The kernel's own checkers look for
 * what was lost (vm/failing). Needs a kernel that can fail on request, and its
 * /sys/kernel/debug/failslab set so (tests/vm/failing.py).
 */
#include "common.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_netlink.h>
#include <sys/socket.h>
#include <unistd.h>

/* No verb allocates that often. */
#define MAX_NTH		50000
#define MR_BYTES	(4 * MIB)

static const struct opts plain = { .mem_bytes = 64 * KIB };

static struct {
	struct ibv_context *ctx;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_srq *srq;
	struct ibv_qp *qp;
	struct ibv_mr *mr;
	union ibv_gid gid;
	int gid_index;
	uint8_t *mem;
	void *made;		/* what the verb has made */
	struct pair p;
	uint64_t sent;
} s;

/* ---- failures on request ------------------------------------------------ */

static int nth_fd = -1;

static void arm(unsigned int nth)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", nth);

	check_msg(pwrite(nth_fd, text, n, 0) == n, "fail-nth: %m");
}

/* Has the allocation come that was to fail? */
static bool disarm(void)
{
	char text[16] = "";

	check(pread(nth_fd, text, sizeof(text) - 1, 0) > 0);
	arm(0);
	return !atoi(text);
}

static void need_failures(void)
{
	nth_fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	if (nth_fd < 0)
		test_skip("this kernel cannot fail on request");
}

struct verb {
	const char *name;
	int (*run)(void);	/* 0 or an errno; s.made if it makes something */
	void (*undo)(void);	/* if it has worked; NULL: nothing to do */
	void (*failed)(void);	/* if it has not, likewise */
	bool reads_files;	/* whose errors are any */
	unsigned int step;	/* not each allocation, but each so many-th; 0: 1 */
};

static bool may_be(const struct verb *v, int rc)
{
	/* A socket without memory says ENOBUFS. */
	return rc == ENOMEM || rc == ENOBUFS || (rc && v->reads_files);
}

static void sweep(const struct verb *v)
{
	unsigned int nth, failed = 0;
	bool injected;
	int rc;

	for (nth = 1; nth < MAX_NTH; nth += v->step ? v->step : 1) {
		test_context("%s, allocation %u", v->name, nth);
		arm(nth);
		rc = v->run();
		injected = disarm();
		check_msg(!rc || (injected && may_be(v, rc)), "%s%s",
			  strerror(rc), injected ? "" : ", with no failure");
		failed += !!rc;
		if (!rc && v->undo)
			v->undo();
		if (rc && v->failed)
			v->failed();
		if (!injected)
			break;
	}
	test_context("%s", v->name);
	check(nth < MAX_NTH);
	printf("%s: up to allocation %u; failed %u times\n", v->name, nth - 1,
	       failed);
}

static int made(void *p)
{
	s.made = p;
	return p ? 0 : errno;
}

/* ---- objects ------------------------------------------------------------ */

static int open_ctx(void)
{
	struct ibv_device **list = ibv_get_device_list(NULL);
	int rc;

	if (!list)
		return errno;
	/* If a file of sysfs could not be read no device is seen. */
	rc = list[0] ? made(ibv_open_device(list[0])) : ENODEV;
	ibv_free_device_list(list);
	return rc;
}

static void close_ctx(void)
{
	check_rc(ibv_close_device(s.made), 0);
}

static int alloc_pd(void)
{
	return made(ibv_alloc_pd(s.ctx));
}

static void dealloc_pd(void)
{
	check_rc(ibv_dealloc_pd(s.made), 0);
}

static int reg_mr(void)
{
	return made(ibv_reg_mr(s.pd, s.mem, MR_BYTES, ACCESS_ALL));
}

static void dereg_mr(void)
{
	check_rc(ibv_dereg_mr(s.made), 0);
}

static int rereg_mr(void)
{
	struct ibv_mr *mr = ibv_reg_mr(s.pd, s.mem, MR_BYTES / 2, ACCESS_ALL);
	int rc;

	if (!mr)
		return errno;
	rc = ibv_rereg_mr(mr, IBV_REREG_MR_CHANGE_TRANSLATION, NULL, s.mem,
			  MR_BYTES, 0);
	rc = rc ? errno : 0;
	check_rc(ibv_dereg_mr(mr), 0);
	return rc;
}

static int create_channel(void)
{
	return made(ibv_create_comp_channel(s.ctx));
}

static void destroy_channel(void)
{
	check_rc(ibv_destroy_comp_channel(s.made), 0);
}

static int create_cq(void)
{
	return made(ibv_create_cq(s.ctx, 1000, NULL, NULL, 0));
}

static void destroy_cq(void)
{
	check_rc(ibv_destroy_cq(s.made), 0);
}

static int resize_cq(void)
{
	static int cqe = 100;

	cqe ^= 1000;
	return ibv_resize_cq(s.cq, cqe);
}

static int create_srq(void)
{
	struct ibv_srq_init_attr init = { .attr = { .max_wr = 1000, .max_sge = 4 } };

	return made(ibv_create_srq(s.pd, &init));
}

static void destroy_srq(void)
{
	check_rc(ibv_destroy_srq(s.made), 0);
}

static int modify_srq(void)
{
	struct ibv_srq_attr attr = { .srq_limit = 5 };

	return ibv_modify_srq(s.srq, &attr, IBV_SRQ_LIMIT);
}

static int create_qp_of(enum ibv_qp_type type)
{
	struct ibv_qp_init_attr init = {
		.send_cq = s.cq, .recv_cq = s.cq, .qp_type = type,
		.cap = { 100, 100, 4, 4, 64 },
	};

	return made(ibv_create_qp(s.pd, &init));
}

static int create_rc(void)
{
	return create_qp_of(IBV_QPT_RC);
}

static int create_uc(void)
{
	return create_qp_of(IBV_QPT_UC);
}

static int create_ud(void)
{
	return create_qp_of(IBV_QPT_UD);
}

static void destroy_qp(void)
{
	check_rc(ibv_destroy_qp(s.made), 0);
}

static int create_ah(void)
{
	struct ibv_ah_attr attr = {
		.is_global = 1, .port_num = 1,
		.grh = { .dgid = s.gid, .hop_limit = 64,
			 .sgid_index = s.gid_index },
	};

	return made(ibv_create_ah(s.pd, &attr));
}

static void destroy_ah(void)
{
	check_rc(ibv_destroy_ah(s.made), 0);
}

static int listen_id(void)
{
	struct rdma_event_channel *channel = rdma_create_event_channel();
	struct sockaddr_in sin = { .sin_family = AF_INET };
	struct rdma_cm_id *id;
	int rc;

	if (!channel)
		return errno;
	rc = rdma_create_id(channel, &id, NULL, RDMA_PS_TCP) ? errno : 0;
	if (!rc) {
		rc = rdma_bind_addr(id, (struct sockaddr *)&sin) ||
		     rdma_listen(id, 4) ? errno : 0;
		check(!rdma_destroy_id(id));
	}
	rdma_destroy_event_channel(channel);
	return rc;
}

static const struct verb objects[] = {
	{ "open_device", open_ctx, close_ctx, .reads_files = true },
	{ "alloc_pd", alloc_pd, dealloc_pd },
	{ "reg_mr", reg_mr, dereg_mr },
	{ "rereg_mr", rereg_mr, NULL },
	{ "create_comp_channel", create_channel, destroy_channel },
	{ "create_cq", create_cq, destroy_cq },
	{ "resize_cq", resize_cq, NULL },
	{ "create_srq", create_srq, destroy_srq },
	{ "modify_srq", modify_srq, NULL },
	{ "create_qp RC", create_rc, destroy_qp },
	{ "create_qp UC", create_uc, destroy_qp },
	{ "create_qp UD", create_ud, destroy_qp },
	{ "create_ah", create_ah, destroy_ah },
	{ "rdma_listen", listen_id, NULL },
};

static void each_object(void)
{
	struct ibv_srq_init_attr srq = { .attr = { .max_wr = 10, .max_sge = 1 } };
	size_t i;

	need_failures();
	s.mem = map_private(MR_BYTES);
	memset(s.mem, 1, MR_BYTES);
	s.ctx = open_device(NULL);
	check(s.ctx);
	s.gid_index = usable_gid(s.ctx, &s.gid);
	s.pd = ibv_alloc_pd(s.ctx);
	s.cq = ibv_create_cq(s.ctx, 10, NULL, NULL, 0);
	s.srq = ibv_create_srq(s.pd, &srq);
	check(s.gid_index >= 0 && s.pd && s.cq && s.srq);
	for (i = 0; i < ARRAY_SIZE(objects); i++)
		sweep(&objects[i]);
	check_rc(ibv_destroy_srq(s.srq), 0);
	check_rc(ibv_destroy_cq(s.cq), 0);
	check_rc(ibv_dealloc_pd(s.pd), 0);
	check_rc(ibv_close_device(s.ctx), 0);
}

/* ---- connections and work requests ---------------------------------------- */

/* One end's steps, each with failures; the other's are not disturbed. */
static int connect_one(void)
{
	struct ibv_qp_attr attr;
	int mask, rc;

	end_rtr_attr(s.p.a, s.p.b, &attr, &mask);
	rc = ibv_modify_qp(s.p.a->qp, &attr, mask);
	if (rc)
		return rc;
	end_rts_attr(s.p.a, &attr, &mask);
	return ibv_modify_qp(s.p.a->qp, &attr, mask);
}

static void not_connected(void)
{
	end_state(s.p.a, IBV_QPS_RESET);
	end_init(s.p.a);
}

static void transfer(void)
{
	post_recv(s.p.b, ++s.sent, 0, 8);
	post_send(s.p.a, wr_make(s.p.a, IBV_WR_SEND, s.sent, 0, 8));
	expect_send(s.p.a, s.sent, IBV_WC_SUCCESS);
	expect_recv(s.p.b, s.sent, IBV_WC_SUCCESS);
}

/* The other end follows, something is sent, and all is as it was. */
static void connected(void)
{
	end_rtr(s.p.b, s.p.a);
	end_rts(s.p.b);
	transfer();
	end_state(s.p.a, IBV_QPS_RESET);
	end_state(s.p.b, IBV_QPS_RESET);
	end_init(s.p.a);
	end_init(s.p.b);
}

static const struct verb connecting = { "modify_qp", connect_one, connected, not_connected };

static void connections(void)
{
	need_failures();
	pair_open_init(&s.p, TOPO_CONTEXTS, &plain, NULL);
	sweep(&connecting);
	pair_close(&s.p);
}

/* What TCP cannot send for want of memory it sends a moment later. */
static int post_all(void)
{
	int i;

	for (i = 0; i < 4; i++) {
		struct wr wr = i & 1 ? wr_rdma(s.p.a, IBV_WR_RDMA_READ, i, 0, 32 * KIB,
					       s.p.b, 0) :
				       wr_rdma(s.p.a, IBV_WR_RDMA_WRITE, i, 0, 32 * KIB,
					       s.p.b, 0);
		int rc = try_post_send(s.p.a, &wr);

		if (rc)
			return rc;
	}
	return 0;
}

static void all_sent(void)
{
	int i;

	for (i = 0; i < 4; i++)
		expect_send(s.p.a, i, IBV_WC_SUCCESS);
}

static const struct verb posting = { "post_send", post_all, all_sent };

static void posts(void)
{
	need_failures();
	pair_open(&s.p, TOPO_CONTEXTS, &plain, NULL);
	sweep(&posting);
	pair_close(&s.p);
}

/* ---- devices ------------------------------------------------------------ */

struct request {
	struct nlmsghdr h;
	uint8_t attrs[256];
};

static void put_attr(struct request *r, uint16_t type, const void *p, size_t n)
{
	struct nlattr *a = (struct nlattr *)((uint8_t *)r + NLMSG_ALIGN(r->h.nlmsg_len));

	a->nla_type = type;
	a->nla_len = NLA_HDRLEN + n;
	memcpy((uint8_t *)a + NLA_HDRLEN, p, n);
	r->h.nlmsg_len = NLMSG_ALIGN(r->h.nlmsg_len) + NLA_ALIGN(a->nla_len);
}

static int rdma_netlink = -1;

/* The handler runs within send(); the answer is an error number, or there is none. */
static int ask(struct request *r)
{
	struct {
		struct nlmsghdr h;
		struct nlmsgerr e;
		uint8_t more[512];
	} answer;

	if (send(rdma_netlink, r, r->h.nlmsg_len, 0) < 0)
		return errno;
	if (recv(rdma_netlink, &answer, sizeof(answer), MSG_DONTWAIT) <= 0)
		return errno == ENOBUFS || errno == EAGAIN ? ENOMEM : errno;
	return answer.h.nlmsg_type == NLMSG_ERROR ? -answer.e.error : 0;
}

static struct request request(uint16_t command)
{
	return (struct request) {
		.h = { .nlmsg_len = NLMSG_HDRLEN,
		       .nlmsg_type = RDMA_NL_GET_TYPE(RDMA_NL_NLDEV, command),
		       .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK },
	};
}

#define LINK	"tcpzc-failing"

static int add_link(void)
{
	struct request r = request(RDMA_NLDEV_CMD_NEWLINK);

	put_attr(&r, RDMA_NLDEV_ATTR_DEV_NAME, LINK, sizeof(LINK));
	put_attr(&r, RDMA_NLDEV_ATTR_LINK_TYPE, "tcpzc", 6);
	put_attr(&r, RDMA_NLDEV_ATTR_NDEV_NAME, "dummy0", 7);
	return ask(&r);
}

/* Its number; -1: it is not there. */
static int link_index(void)
{
	FILE *f = fopen("/sys/class/infiniband/" LINK "/node_guid", "r");
	struct request r;
	int i;

	if (!f)
		return -1;
	fclose(f);
	for (i = 0; i < 10000; i++) {
		uint32_t index = i;
		uint8_t answer[4096];
		ssize_t n;

		r = request(RDMA_NLDEV_CMD_GET);
		r.h.nlmsg_flags = NLM_F_REQUEST;
		put_attr(&r, RDMA_NLDEV_ATTR_DEV_INDEX, &index, sizeof(index));
		check(send(rdma_netlink, &r, r.h.nlmsg_len, 0) > 0);
		n = recv(rdma_netlink, answer, sizeof(answer), 0);
		check(n > 0);
		if (((struct nlmsghdr *)answer)->nlmsg_type != NLMSG_ERROR &&
		    memmem(answer, n, LINK, sizeof(LINK)))
			return i;
	}
	return -1;
}

static int delete_link(void)
{
	struct request r = request(RDMA_NLDEV_CMD_DELLINK);
	uint32_t index = s.sent;

	put_attr(&r, RDMA_NLDEV_ATTR_DEV_INDEX, &index, sizeof(index));
	return ask(&r);
}

static void undo_add(void)
{
	int index = link_index();

	check(index >= 0);
	s.sent = index;
	check_rc(delete_link(), 0);
}

/* Each attempt takes half a second, and there are thousands. */
static const struct verb adding = { "link add", add_link, undo_add, .step = 97 };

static void links(void)
{
	need_failures();
	rdma_netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_RDMA);
	check(rdma_netlink >= 0);
	sweep(&adding);
}

static const struct test_case cases[] = {
	CASE_LIMIT(each_object, 300),
	CASE_LIMIT(connections, 300),
	CASE_LIMIT(posts, 300),
	CASE_LIMIT(links, 300),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
