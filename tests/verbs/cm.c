// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * cm.c - rdma_cm as a program sees it: both ends in this process, each with an
 * event channel of its own, and ends in children that are killed.
 *
 * Most connections here have no queue pair: the program says itself when it is
 * ready (rdma_establish), so that the exchange stops where a test wants it.
 */
#include "common.h"

#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <rdma/rdma_cma.h>
#include <rdma/rdma_verbs.h>

#define WAIT_MS		10000
#define QUIET_MS	300
#define MAX_REQ		56
#define MAX_REP		196
#define MAX_REJ		148
#define MAX_UD_REQ	180
#define MAX_UD_REP	136
#define FIRST_QPN	0x1234
#define SERVER_QPN	0x800000
#define TIMED_OUT	4
#define NO_SERVICE	8
#define INVALID_ID	6
#define CONSUMER	28
#define WELL_KNOWN	4795

/* ---- one side ----------------------------------------------------------- */

struct side {
	struct rdma_event_channel *ch;
	struct rdma_cm_id *id;
	struct rdma_cm_event *ev;	/* the last one; not acknowledged yet */
};

static union {
	struct sockaddr sa;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
} addr;

static struct side srv, cli;


static void side_ack(struct side *s)
{
	if (s->ev)
		check_rc(rdma_ack_cm_event(s->ev), 0);
	s->ev = NULL;
}

static bool readable(const struct side *s, int ms)
{
	struct pollfd p = { .fd = s->ch->fd, .events = POLLIN };

	check(poll(&p, 1, ms) >= 0);
	return p.revents & POLLIN;
}

/* The next event, which must be this one. */
static void expect_cm(struct side *s, enum rdma_cm_event_type type, int status)
{
	side_ack(s);
	check_msg(readable(s, WAIT_MS), "no event, expected %s",
		  rdma_event_str(type));
	check_rc(rdma_get_cm_event(s->ch, &s->ev), 0);
	check_msg(s->ev->event == type, "%s, status %d; expected %s",
		  rdma_event_str(s->ev->event), s->ev->status,
		  rdma_event_str(type));
	check_eq(s->ev->status, status);
}

static void expect_nothing(struct side *s)
{
	side_ack(s);
	check(!readable(s, QUIET_MS));
}

static void side_open(struct side *s, enum rdma_port_space ps)
{
	memset(s, 0, sizeof(*s));
	s->ch = rdma_create_event_channel();
	check(s->ch);
	check_rc(rdma_create_id(s->ch, &s->id, NULL, ps), 0);
}

static void side_close(struct side *s)
{
	side_ack(s);
	if (s->id)
		check_rc(rdma_destroy_id(s->id), 0);
	rdma_destroy_event_channel(s->ch);
}

/* ---- both --------------------------------------------------------------- */

/* Not in the process, but the kernel's rdma_cm with our driver. */
static bool in_kernel(void)
{
	return getenv("TEST_IPV4");
}

/* The address of both ends: in kernel mode there is no rdma_cm on loopback. */
static const char *host(int family)
{
	const char *name = getenv(family == AF_INET ? "TEST_IPV4" : "TEST_IPV6");

	if (name)
		return name;
	return family == AF_INET ? "127.0.0.1" : "::1";
}

static void at_host(int family, void *where)
{
	check_eq(inet_pton(family, host(family), where), 1);
}

static void listen_at(struct side *s, int family, int backlog)
{
	memset(&addr, 0, sizeof(addr));
	addr.sa.sa_family = family;
	if (family == AF_INET)
		at_host(family, &addr.in.sin_addr);
	else
		at_host(family, &addr.in6.sin6_addr);
	if (rdma_bind_addr(s->id, &addr.sa))
		test_skip("no device at this address: %s", strerror(errno));
	check_rc(rdma_listen(s->id, backlog), 0);
	addr.in.sin_port = rdma_get_src_port(s->id);	/* at the same place */
	check(addr.in.sin_port);
}

static void resolve(struct side *s)
{
	check_rc(rdma_resolve_addr(s->id, NULL, &addr.sa, 1000), 0);
	expect_cm(s, RDMA_CM_EVENT_ADDR_RESOLVED, 0);
	check_rc(rdma_resolve_route(s->id, 1000), 0);
	expect_cm(s, RDMA_CM_EVENT_ROUTE_RESOLVED, 0);
	side_ack(s);
}

static void begin_at(enum rdma_port_space ps, int family)
{
	side_open(&srv, ps);
	side_open(&cli, ps);
	listen_at(&srv, family, 8);
	resolve(&cli);
}

static void begin(void)
{
	begin_at(RDMA_PS_TCP, AF_INET);
}

static void end(void)
{
	side_close(&cli);
	side_close(&srv);
}

/*
 * Each connection has a queue pair number of its own: the kernel takes two at a
 * time with the same one of the same peer for a peer that has been restarted, and
 * rejects the second (stale connection).
 */
static struct rdma_conn_param param(const void *priv, unsigned int len)
{
	static uint32_t qpn = FIRST_QPN;

	return (struct rdma_conn_param){
		.private_data = priv, .private_data_len = len,
		.responder_resources = 3, .initiator_depth = 5,
		.retry_count = 6, .rnr_retry_count = 4, .qp_num = qpn++,
	};
}

static int try_connect(struct side *s, const void *priv, unsigned int len)
{
	struct rdma_conn_param p = param(priv, len);

	return rdma_connect(s->id, &p);
}

/* The server's id for the request that has come. */
static struct rdma_cm_id *take_request(void)
{
	expect_cm(&srv, RDMA_CM_EVENT_CONNECT_REQUEST, 0);
	check(srv.ev->listen_id == srv.id);
	return srv.ev->id;
}

static int try_accept(struct rdma_cm_id *id, const void *priv, unsigned int len)
{
	struct rdma_conn_param p = param(priv, len);

	p.qp_num |= SERVER_QPN;
	return rdma_accept(id, &p);
}

static struct rdma_cm_id *connect_both(void)
{
	struct rdma_cm_id *id;

	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	check_rc(try_accept(id, NULL, 0), 0);
	expect_cm(&cli, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	check_rc(rdma_establish(cli.id), 0);
	expect_cm(&srv, RDMA_CM_EVENT_ESTABLISHED, 0);
	check(srv.ev->id == id);
	side_ack(&srv);
	side_ack(&cli);
	return id;
}

/*
 * The end of a connection: who is told of it says goodbye, too. In user mode that
 * is done already and returns the same; the kernel answers the first DREQ only then.
 */
static void disconnect(struct side *first, struct rdma_cm_id *id,
		       struct side *second, struct rdma_cm_id *peer)
{
	check_rc(rdma_disconnect(id), 0);
	expect_cm(second, RDMA_CM_EVENT_DISCONNECTED, 0);
	check_rc(rdma_disconnect(peer), 0);
	expect_cm(first, RDMA_CM_EVENT_DISCONNECTED, 0);
	side_ack(first);
	side_ack(second);
}

/* ---- private data ------------------------------------------------------- */

static void exchange(int family)
{
	const struct rdma_conn_param *p;
	struct rdma_cm_id *id;
	uint8_t there[MAX_REQ], back[MAX_REP];

	fill(there, sizeof(there), 1);
	fill(back, sizeof(back), 2);
	begin_at(RDMA_PS_TCP, family);
	check_rc(try_connect(&cli, there, sizeof(there)), 0);
	id = take_request();
	p = &srv.ev->param.conn;
	check(p->private_data_len >= sizeof(there));
	check_fill(p->private_data, sizeof(there), 1);
	check_eq(p->qp_num, FIRST_QPN);
	check_eq(p->responder_resources, 5);
	check_eq(p->initiator_depth, 3);
	check_eq(p->retry_count, 6);
	check_eq(p->rnr_retry_count, 4);
	check_rc(try_accept(id, back, sizeof(back)), 0);
	expect_cm(&cli, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	p = &cli.ev->param.conn;
	check(p->private_data_len >= sizeof(back));
	check_fill(p->private_data, sizeof(back), 2);
	check_eq(p->qp_num, SERVER_QPN | (FIRST_QPN + 1));
	check_rc(rdma_establish(cli.id), 0);
	expect_cm(&srv, RDMA_CM_EVENT_ESTABLISHED, 0);
	disconnect(&srv, id, &cli, cli.id);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

static void private_data(void)
{
	exchange(AF_INET);
}

static void private_data_ipv6(void)
{
	exchange(AF_INET6);
}

/* More than fits is refused at once, and nothing is spoilt by it... */
static void too_much_private_data(void)
{
	struct rdma_cm_id *id;
	uint8_t data[256] = { 0 };

	begin();
	check_rc(try_connect(&cli, data, MAX_REQ + 1), -1);
	check_eq(errno, EINVAL);
	check_rc(try_connect(&cli, data, 255), -1);
	check_rc(try_connect(&cli, data, MAX_REQ), 0);
	id = take_request();
	check_rc(rdma_reject(id, data, MAX_REJ + 1), -1);
	check_eq(errno, EINVAL);
	check_rc(try_accept(id, data, MAX_REP), 0);
	expect_cm(&cli, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

/* ... but by an accept that fails: it rejects the request. */
static void too_much_to_accept(void)
{
	struct rdma_cm_id *id;
	uint8_t data[MAX_REP + 1] = { 0 };

	begin();
	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	check_rc(try_accept(id, data, MAX_REP + 1), -1);
	check_eq(errno, EINVAL);
	expect_cm(&cli, RDMA_CM_EVENT_REJECTED, CONSUMER);
	check_rc(try_accept(id, data, MAX_REP), -1);
	check_eq(errno, EINVAL);
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

static void reject(void)
{
	struct rdma_cm_id *id;
	uint8_t why[MAX_REJ];

	fill(why, sizeof(why), 3);
	begin();
	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	check_rc(rdma_reject(id, why, sizeof(why)), 0);
	expect_cm(&cli, RDMA_CM_EVENT_REJECTED, CONSUMER);
	check(cli.ev->param.conn.private_data_len >= sizeof(why));
	check_fill(cli.ev->param.conn.private_data, sizeof(why), 3);
	/* Once is enough */
	check_rc(try_accept(id, NULL, 0), -1);
	check_eq(errno, EINVAL);
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

/* The request's id is destroyed without an answer: that is one. */
static void destroyed_request(void)
{
	struct rdma_cm_id *id;

	begin();
	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	expect_cm(&cli, RDMA_CM_EVENT_REJECTED, CONSUMER);
	end();
}

static void nobody(void)
{
	begin();
	check_rc(rdma_destroy_id(srv.id), 0);
	srv.id = NULL;
	check_rc(try_connect(&cli, NULL, 0), 0);
	expect_cm(&cli, RDMA_CM_EVENT_REJECTED, NO_SERVICE);
	end();
}

/* ---- datagrams ---------------------------------------------------------- */

static void datagrams(void)
{
	struct rdma_conn_param p = { .qp_num = 0x99 };
	uint8_t there[MAX_UD_REQ], back[MAX_UD_REP];
	struct rdma_cm_id *id;

	fill(there, sizeof(there), 4);
	fill(back, sizeof(back), 5);
	begin_at(RDMA_PS_UDP, AF_INET);
	check_rc(try_connect(&cli, there, sizeof(there)), 0);
	id = take_request();
	check(srv.ev->param.ud.private_data_len >= sizeof(there));
	check_fill(srv.ev->param.ud.private_data, sizeof(there), 4);
	p.private_data = back;
	p.private_data_len = sizeof(back);
	check_rc(rdma_accept(id, &p), 0);
	expect_cm(&cli, RDMA_CM_EVENT_ESTABLISHED, 0);
	check_eq(cli.ev->param.ud.qp_num, 0x99);
	check_fill(cli.ev->param.ud.private_data, MAX_UD_REP, 5);
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

static void datagrams_too_much(void)
{
	uint8_t data[MAX_UD_REP + 1] = { 0 };
	struct rdma_conn_param p = {
		.private_data = data, .private_data_len = sizeof(data),
	};
	struct rdma_cm_id *id;

	begin_at(RDMA_PS_UDP, AF_INET);
	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	check_rc(rdma_accept(id, &p), -1);
	check_eq(errno, EINVAL);
	expect_cm(&cli, RDMA_CM_EVENT_UNREACHABLE, 2);
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

static void datagrams_rejected(void)
{
	struct rdma_cm_id *id;

	begin_at(RDMA_PS_UDP, AF_INET);
	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	check_rc(rdma_reject(id, NULL, 0), 0);
	expect_cm(&cli, RDMA_CM_EVENT_UNREACHABLE, 2);
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

/* ---- addresses ---------------------------------------------------------- */

static void families_mixed(void)
{
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(9) };
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in nowhere = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(0xc0000201),
	};

	at_host(AF_INET, &v4.sin_addr);
	at_host(AF_INET6, &v6.sin6_addr);
	side_open(&cli, RDMA_PS_TCP);
	check_rc(rdma_resolve_addr(cli.id, (void *)&v4, (void *)&v6, 100), -1);
	check_eq(errno, EINVAL);
	/* The source has been bound by that. */
	check_rc(rdma_bind_addr(cli.id, (void *)&v4), -1);
	check_eq(errno, EINVAL);
	side_close(&cli);
	side_open(&cli, RDMA_PS_TCP);
	check_rc(rdma_bind_addr(cli.id, (void *)&nowhere), -1);
	check_eq(errno, EADDRNOTAVAIL);
	check_rc(rdma_bind_addr(cli.id, (void *)&v4), 0);
	check_rc(rdma_resolve_addr(cli.id, NULL, (void *)&v6, 100), -1);
	check_eq(errno, EINVAL);
	side_close(&cli);
}

/* A link-local address without an interface names nothing. */
static void link_local_unscoped(void)
{
	struct sockaddr_in6 local = { .sin6_family = AF_INET6, .sin6_port = htons(9) };

	check_eq(inet_pton(AF_INET6, "fe80::1", &local.sin6_addr), 1);
	side_open(&cli, RDMA_PS_TCP);
	check_rc(rdma_bind_addr(cli.id, (void *)&local), -1);
	check_eq(errno, EINVAL);
	side_close(&cli);
}

static void share(struct rdma_cm_id *id)
{
	int one = 1;

	check_rc(rdma_set_option(id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR,
				 &one, sizeof(one)), 0);
}

/* Both are bound to one port; who listens must be alone there, and stays so. */
static void listen_shared(void)
{
	int one = 1;

	check_rc(rdma_listen(srv.id, 1), -1);
	check_eq(errno, EADDRINUSE);
	check_rc(rdma_listen(cli.id, 1), -1);
	check_eq(errno, EADDRINUSE);
	check_rc(rdma_destroy_id(cli.id), 0);
	check_rc(rdma_listen(srv.id, 1), 0);
	check_rc(rdma_set_option(srv.id, RDMA_OPTION_ID, RDMA_OPTION_ID_REUSEADDR,
				 &one, sizeof(one)), -1);
	check_eq(errno, EINVAL);
	check_rc(rdma_create_id(cli.ch, &cli.id, NULL, RDMA_PS_TCP), 0);
	share(cli.id);
	check_rc(rdma_bind_addr(cli.id, &addr.sa), -1);
	check_eq(errno, EADDRINUSE);
}

static void ports(void)
{
	struct rdma_cm_id *second, *third;

	begin();
	check_rc(rdma_create_id(srv.ch, &second, NULL, RDMA_PS_TCP), 0);
	check_rc(rdma_bind_addr(second, &addr.sa), -1);
	check_eq(errno, EADDRINUSE);
	/* Another port space has ports of its own. */
	check_rc(rdma_create_id(srv.ch, &third, NULL, RDMA_PS_UDP), 0);
	check_rc(rdma_bind_addr(third, &addr.sa), 0);
	check_rc(rdma_destroy_id(third), 0);
	/* The first has not said that it shares. */
	share(second);
	check_rc(rdma_bind_addr(second, &addr.sa), -1);
	check_eq(errno, EADDRINUSE);
	check_rc(rdma_destroy_id(srv.id), 0);
	srv.id = second;
	check_rc(rdma_bind_addr(second, &addr.sa), 0);
	check_rc(rdma_destroy_id(cli.id), 0);
	check_rc(rdma_create_id(cli.ch, &cli.id, NULL, RDMA_PS_TCP), 0);
	share(cli.id);
	check_rc(rdma_bind_addr(cli.id, &addr.sa), 0);
	listen_shared();
	end();
}

static void options(void)
{
	struct sockaddr_in6 any6 = { .sin6_family = AF_INET6 };
	struct sockaddr_in any4 = { .sin_family = AF_INET };
	uint8_t tos = 0x20, timeout = 20, long_one = 32;
	struct ibv_qp_attr attr = { .qp_state = IBV_QPS_RTR };
	int one = 1, mask;

	/* Before the route is resolved: the kernel takes TOS into it then. */
	side_open(&srv, RDMA_PS_TCP);
	side_open(&cli, RDMA_PS_TCP);
	listen_at(&srv, AF_INET, 8);
	check_rc(rdma_set_option(cli.id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos,
				 2), -1);
	check_rc(rdma_set_option(cli.id, RDMA_OPTION_ID, RDMA_OPTION_ID_TOS, &tos,
				 1), 0);
	/* Nobody looks at the value here; the last one counts. */
	check_rc(rdma_set_option(cli.id, RDMA_OPTION_ID,
				 RDMA_OPTION_ID_ACK_TIMEOUT, &long_one, 1), 0);
	check_rc(rdma_set_option(cli.id, RDMA_OPTION_ID,
				 RDMA_OPTION_ID_ACK_TIMEOUT, &timeout, 1), 0);
	check_rc(rdma_set_option(cli.id, RDMA_OPTION_ID, 99, &one, sizeof(one)),
		 -1);
	check_eq(errno, ENOSYS);
	resolve(&cli);
	connect_both();
	check_rc(rdma_init_qp_attr(cli.id, &attr, &mask), 0);
	check_eq(attr.ah_attr.grh.traffic_class, tos);
	attr.qp_state = IBV_QPS_RTS;
	check_rc(rdma_init_qp_attr(cli.id, &attr, &mask), 0);
	check_eq(attr.timeout, timeout);
	end();
	/* An IPv6 wildcard leaves IPv4 to others if it is asked to. */
	side_open(&srv, RDMA_PS_TCP);
	side_open(&cli, RDMA_PS_TCP);
	check_rc(rdma_set_option(srv.id, RDMA_OPTION_ID, RDMA_OPTION_ID_AFONLY,
				 &one, sizeof(one)), 0);
	check_rc(rdma_bind_addr(srv.id, (void *)&any6), 0);
	any4.sin_port = rdma_get_src_port(srv.id);
	check_rc(rdma_bind_addr(cli.id, (void *)&any4), 0);
	end();
}

/* ---- channels ----------------------------------------------------------- */

static void nonblocking(void)
{
	struct rdma_cm_event *ev;

	begin();
	check_rc(fcntl(srv.ch->fd, F_SETFL, O_NONBLOCK), 0);
	check_rc(rdma_get_cm_event(srv.ch, &ev), -1);
	check_eq(errno, EAGAIN);
	check(!readable(&srv, 0));
	check_rc(try_connect(&cli, NULL, 0), 0);
	take_request();
	side_ack(&srv);
	check_rc(rdma_get_cm_event(srv.ch, &ev), -1);
	check_eq(errno, EAGAIN);
	check(!readable(&srv, 0));
	end();
}

/* What waits in the old channel comes with the id. */
static void migrate(void)
{
	struct side other = { .ch = rdma_create_event_channel() };
	struct rdma_cm_id *id;

	begin();
	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	check_rc(try_accept(id, NULL, 0), 0);
	check(readable(&cli, WAIT_MS));
	check_rc(rdma_migrate_id(cli.id, other.ch), 0);
	check(!readable(&cli, 0));
	expect_cm(&other, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	check(other.ev->id == cli.id);
	side_ack(&other);
	check_rc(rdma_establish(cli.id), 0);
	expect_cm(&srv, RDMA_CM_EVENT_ESTABLISHED, 0);
	side_ack(&srv);
	check_rc(rdma_disconnect(id), 0);
	expect_cm(&other, RDMA_CM_EVENT_DISCONNECTED, 0);
	side_ack(&other);
	check_rc(rdma_destroy_id(id), 0);
	end();
	rdma_destroy_event_channel(other.ch);
}

/*
 * A listener moves with the requests that wait: some are answered through the new
 * channel, the others go with the listener; the old channel is closed meanwhile.
 */
static void migrate_listener(void)
{
	struct side other = { .ch = rdma_create_event_channel() }, second;
	struct rdma_cm_id *id;

	if (in_kernel())
		test_skip("ucma.c leaves the new ids with the old channel");
	begin();
	side_open(&second, RDMA_PS_TCP);
	resolve(&second);
	check_rc(try_connect(&cli, NULL, 0), 0);
	check(readable(&srv, WAIT_MS));
	check_rc(rdma_migrate_id(srv.id, other.ch), 0);
	check(!readable(&srv, 0));
	rdma_destroy_event_channel(srv.ch);
	srv.ch = other.ch;
	id = take_request();
	check(id->channel == other.ch);
	check_rc(try_accept(id, NULL, 0), 0);
	expect_cm(&cli, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	check_rc(rdma_establish(cli.id), 0);
	expect_cm(&srv, RDMA_CM_EVENT_ESTABLISHED, 0);
	check(srv.ev->id == id);
	side_ack(&srv);
	/* One that comes later, and is never looked at. */
	check_rc(try_connect(&second, NULL, 0), 0);
	check(readable(&srv, WAIT_MS));
	check_rc(rdma_destroy_id(id), 0);
	end();
	expect_cm(&second, RDMA_CM_EVENT_REJECTED, CONSUMER);
	side_close(&second);
}

/* More ask than may wait: the others' turn comes. */
static void backlog(void)
{
	struct side many[6];
	struct rdma_cm_id *id;
	unsigned int i;

	side_open(&srv, RDMA_PS_TCP);
	listen_at(&srv, AF_INET, 2);
	for (i = 0; i < ARRAY_SIZE(many); i++) {
		side_open(&many[i], RDMA_PS_TCP);
		resolve(&many[i]);
		check_rc(try_connect(&many[i], NULL, 0), 0);
	}
	for (i = 0; i < ARRAY_SIZE(many); i++) {
		id = take_request();
		check_rc(try_accept(id, NULL, 0), 0);
		side_ack(&srv);
		check_rc(rdma_destroy_id(id), 0);
	}
	for (i = 0; i < ARRAY_SIZE(many); i++) {
		expect_cm(&many[i], RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
		side_close(&many[i]);
	}
	side_close(&srv);
}

/* ---- ends that fail ----------------------------------------------------- */

/* The client is slow, and then goes instead of saying that it is ready. */
static void no_rtu(void)
{
	struct rdma_cm_id *id;

	begin();
	check_rc(try_connect(&cli, NULL, 0), 0);
	id = take_request();
	check_rc(try_accept(id, NULL, 0), 0);
	expect_cm(&cli, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	expect_nothing(&srv);
	side_ack(&cli);
	check_rc(rdma_destroy_id(cli.id), 0);
	cli.id = NULL;
	expect_cm(&srv, RDMA_CM_EVENT_REJECTED, CONSUMER);
	check(srv.ev->id == id);
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

/* A child with a channel of its own, which pauses where it has come to. */
static pid_t child(void (*fn)(void))
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	check(pid >= 0);
	if (!pid) {
		if (fn)
			fn();
		pause();
	}
	return pid;
}

static void end_child(pid_t pid)
{
	check_rc(kill(pid, SIGKILL), 0);
	check_eq(waitpid(pid, NULL, 0), pid);
}

static void child_connects(void)
{
	side_open(&cli, RDMA_PS_TCP);
	resolve(&cli);
	check_rc(try_connect(&cli, NULL, 0), 0);
}

/* The client is killed when it is answered. */
static void client_killed(void)
{
	struct rdma_cm_id *id;
	pid_t pid;
	int rc;

	side_open(&srv, RDMA_PS_TCP);
	listen_at(&srv, AF_INET, 8);
	pid = child(child_connects);
	id = take_request();
	end_child(pid);
	/*
	 * The kernel says for it that it waits no longer (cm_destroy_id()). That
	 * comes before the answer, of which librdmacm knows nothing then, or after.
	 */
	rc = try_accept(id, NULL, 0);
	if (rc && in_kernel()) {
		check_eq(errno, EINVAL);
	} else {
		check_rc(rc, 0);
		expect_cm(&srv, RDMA_CM_EVENT_REJECTED,
			  in_kernel() ? TIMED_OUT : INVALID_ID);
	}
	side_ack(&srv);
	check_rc(rdma_destroy_id(id), 0);
	side_close(&srv);
}

static int said[2];

static void child_serves(void)
{
	side_open(&srv, RDMA_PS_TCP);
	listen_at(&srv, AF_INET, 8);
	check_eq(write(said[1], &addr, sizeof(addr)), sizeof(addr));
	check_rc(try_accept(take_request(), NULL, 0), 0);
}

/*
 * The server is killed between REP and RTU: the client hears of it when it ends.
 * The kernel takes the REP back for the server (cm_destroy_id()).
 */
static void server_killed(void)
{
	pid_t pid;

	check_rc(pipe(said), 0);
	pid = child(child_serves);
	check_eq(read(said[0], &addr, sizeof(addr)), sizeof(addr));
	side_open(&cli, RDMA_PS_TCP);
	resolve(&cli);
	check_rc(try_connect(&cli, NULL, 0), 0);
	check(readable(&cli, WAIT_MS));
	end_child(pid);
	expect_cm(&cli, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	if (in_kernel()) {
		expect_cm(&cli, RDMA_CM_EVENT_REJECTED, CONSUMER);
		check_rc(rdma_establish(cli.id), -1);
		check_eq(errno, EINVAL);
	} else {
		check_rc(rdma_establish(cli.id), 0);
		check_rc(rdma_disconnect(cli.id), 0);
		expect_cm(&cli, RDMA_CM_EVENT_DISCONNECTED, 0);
	}
	side_close(&cli);
}

static int told[2];

/* Here first, so in user mode it has the port; its own child keeps all it has open. */
static void child_owns(void)
{
	pid_t pid = 0;

	side_open(&srv, RDMA_PS_TCP);
	listen_at(&srv, AF_INET, 8);
	check_eq(write(said[1], &pid, sizeof(pid)), sizeof(pid));
	check_eq(read(told[0], &pid, sizeof(pid)), sizeof(pid));
	pid = child(NULL);
	check_eq(write(said[1], &pid, sizeof(pid)), sizeof(pid));
}

/* Who has forked is killed: it must not live on in its child for the others. */
static void killed_parent(void)
{
	struct rdma_cm_id *id;
	pid_t pid, orphan;

	check_rc(pipe(said), 0);
	check_rc(pipe(told), 0);
	pid = child(child_owns);
	check_eq(read(said[0], &orphan, sizeof(orphan)), sizeof(orphan));
	begin();
	check_eq(write(told[1], &orphan, sizeof(orphan)), sizeof(orphan));
	check_eq(read(said[0], &orphan, sizeof(orphan)), sizeof(orphan));
	end_child(pid);
	id = connect_both();
	disconnect(&srv, id, &cli, cli.id);
	check_rc(rdma_destroy_id(id), 0);
	end();
	check_rc(kill(orphan, SIGKILL), 0);
}

static void child_serves_two(void)
{
	child_serves();
	check_rc(try_accept(take_request(), NULL, 0), 0);
}

/* Has this process the well-known port's socket? */
static bool has_the_port(void)
{
	union { struct sockaddr sa; struct sockaddr_in in; } at;
	socklen_t len;
	int fd;

	for (fd = 0; fd < 256; fd++) {
		len = sizeof(at);
		if (!getsockname(fd, &at.sa, &len) && len >= sizeof(at.in) &&
		    at.sa.sa_family != AF_UNIX && ntohs(at.in.sin_port) == WELL_KNOWN)
			return true;
	}
	return false;
}

/*
 * A process that gives up its rights leaves the port to root's other processes: its
 * messages would not be believed. It is served by them, and when they have gone has
 * the port for itself.
 */
static void user_changed(void)
{
	struct rdma_cm_id *id;
	struct side first, second;
	pid_t pid;

	if (in_kernel() || geteuid())
		test_skip("needs root and rdma_cm in the process");
	check_rc(pipe(said), 0);
	side_open(&first, RDMA_PS_TCP);
	side_open(&second, RDMA_PS_TCP);
	pid = child(child_serves_two);
	check_eq(read(said[0], &addr, sizeof(addr)), sizeof(addr));
	resolve(&first);
	resolve(&second);
	/* When this has passed between the two they know each other. */
	check_rc(try_connect(&first, NULL, 0), 0);
	expect_cm(&first, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	check(has_the_port());
	check_rc(seteuid(65534), 0);
	check_rc(try_connect(&second, NULL, 0), 0);
	expect_cm(&second, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	check(!has_the_port());
	check_rc(seteuid(0), 0);
	end_child(pid);
	side_open(&srv, RDMA_PS_TCP);
	side_open(&cli, RDMA_PS_TCP);
	check_rc(seteuid(65534), 0);
	listen_at(&srv, AF_INET, 8);
	resolve(&cli);
	id = connect_both();
	check(has_the_port());
	disconnect(&srv, id, &cli, cli.id);
	check_rc(rdma_destroy_id(id), 0);
	end();
	check_rc(seteuid(0), 0);
	side_close(&first);
	side_close(&second);
}

static atomic_bool came_back;

static void *wait_for_event(void *closed)
{
	/* RDMA_USER_CM_CMD_GET_EVENT, whose header does not go with rdma_cma.h */
	struct {
		uint32_t cmd;
		uint16_t in, out;
		uint64_t response;
	} get = { .cmd = 12, .in = sizeof(get.response) };
	ssize_t rc = write(*(int *)closed, &get, sizeof(get));

	atomic_store(&came_back, rc != 0);
	return NULL;
}

/*
 * A thread that asks a closed channel for its next event (rping's does, as it
 * ends) waits, even if somebody else has written to that descriptor meanwhile.
 */
static void closed_channel(void)
{
	static int fd;
	pthread_t thread;

	if (in_kernel())
		test_skip("the kernel's file: EBADF once it is closed");
	side_open(&srv, RDMA_PS_TCP);
	fd = srv.ch->fd;
	side_close(&srv);
	check_rc(write(fd, "", 1), -1);
	check_eq(errno, EBADF);
	check_rc(pthread_create(&thread, NULL, wait_for_event, &fd), 0);
	sleep_ms(QUIET_MS);
	check(!atomic_load(&came_back));
	/* It waits as long as the process lives. */
	check_rc(pthread_detach(thread), 0);
}

/* ---- threads that are cancelled ----------------------------------------- */

#define CANCELS		200

static atomic_bool in_call;

static void at_cancel(void *arg)
{
	check_msg(!atomic_load(&in_call), "cancelled in rdma_cm");
}

/* Each of these makes, connects and closes sockets, under rdma_cm's lock. */
static void *bind_and_listen(void *arg)
{
	struct sockaddr_in at = { .sin_family = AF_INET };
	struct rdma_cm_id *id;

	at_host(AF_INET, &at.sin_addr);
	pthread_cleanup_push(at_cancel, NULL);
	for (;;) {
		atomic_store(&in_call, true);
		check_rc(rdma_create_id(arg, &id, NULL, RDMA_PS_TCP), 0);
		check_rc(rdma_bind_addr(id, (void *)&at), 0);
		check_rc(rdma_listen(id, 1), 0);
		check_rc(rdma_destroy_id(id), 0);
		atomic_store(&in_call, false);
		pthread_testcancel();
	}
	pthread_cleanup_pop(0);
	return NULL;
}

/* Only the command behind rdma_get_cm_event() waits, and is a cancellation point. */
static void cancelled(void)
{
	struct rdma_cm_event *ev;
	struct rdma_cm_id *id;
	pthread_t thread;
	unsigned int i;
	void *rc;

	if (in_kernel())
		test_skip("write(2) is a cancellation point");
	begin();
	for (i = 0; i < CANCELS; i++) {
		check_rc(pthread_create(&thread, NULL, bind_and_listen, srv.ch), 0);
		while (!atomic_load(&in_call))
			;
		check_rc(pthread_cancel(thread), 0);
		check_rc(pthread_join(thread, &rc), 0);
		check(rc == PTHREAD_CANCELED);
	}
#ifndef TEST_TSAN		/* its recv() does not survive that */
	check_rc(pthread_create(&thread, NULL, wait_for_event, &srv.ch->fd), 0);
	check_rc(pthread_cancel(thread), 0);
	check_rc(pthread_join(thread, &rc), 0);
	check(rc == PTHREAD_CANCELED);
#endif
	id = connect_both();
	check_rc(fcntl(srv.ch->fd, F_SETFL, O_NONBLOCK), 0);
	check_rc(rdma_get_cm_event(srv.ch, &ev), -1);
	check_rc(rdma_destroy_id(id), 0);
	end();
}

static void *leave(void *arg)
{
	exit(0);
}

/* Connected to one that does not answer, it leaves, and is cancelled meanwhile. */
static void child_leaves(void)
{
	pthread_t thread;
	char byte = 0;

	side_open(&cli, RDMA_PS_TCP);
	resolve(&cli);
	check_rc(try_connect(&cli, NULL, 0), 0);
	expect_cm(&cli, RDMA_CM_EVENT_CONNECT_RESPONSE, 0);
	check_rc(rdma_establish(cli.id), 0);
	check_eq(write(told[1], &byte, 1), 1);
	check_eq(read(said[0], &byte, 1), 1);
	check_rc(pthread_create(&thread, NULL, leave, NULL), 0);
	sleep_ms(QUIET_MS);	/* it says goodbye, and waits for the answer */
	check_rc(pthread_cancel(thread), 0);
}

static void cancelled_exit(void)
{
	pid_t server, client;
	int status;
	char byte;

	if (in_kernel())
		test_skip("the process does not wait");
	check_rc(pipe(said), 0);
	check_rc(pipe(told), 0);
	server = child(child_serves);
	check_eq(read(said[0], &addr, sizeof(addr)), sizeof(addr));
	client = child(child_leaves);
	check_eq(read(told[0], &byte, 1), 1);
	check_rc(kill(server, SIGSTOP), 0);
	check_eq(write(said[1], &byte, 1), 1);
	check_eq(waitpid(client, &status, 0), client);
	check_eq(status, 0);
	end_child(server);
}

/* ---- again and again ---------------------------------------------------- */

static void cycle(void)
{
	struct rdma_cm_id *id = connect_both();

	disconnect(&cli, cli.id, &srv, id);
	check_rc(rdma_destroy_id(id), 0);
	check_rc(rdma_destroy_id(cli.id), 0);
	check_rc(rdma_create_id(cli.ch, &cli.id, NULL, RDMA_PS_TCP), 0);
	resolve(&cli);
}

/* Thousands of connections leave nothing; the last ones stay for a second or two. */
static void cycles(void)
{
	unsigned int i, fds, more = 3000 / test_slow();
	size_t heap;

	begin();
	for (i = 0; i < 100; i++)
		cycle();
	sleep_ms(3000);
	fds = count_fds();
	heap = heap_bytes();
	for (i = 0; i < more; i++)
		cycle();
	sleep_ms(3000);
	check_fds(fds);
	check_msg(heap_bytes() <= heap + 16 * KIB, "%zu bytes after %u cycles, %zu before",
		  heap_bytes(), more, heap);
	end();
}

/* ---- rdma_create_ep ----------------------------------------------------- */

static struct rdma_cm_id *make_ep(const char *port, int flags)
{
	struct rdma_addrinfo hints = {
		.ai_flags = flags, .ai_port_space = RDMA_PS_TCP,
	}, *res;
	struct ibv_qp_init_attr attr = {
		.cap = { .max_send_wr = 4, .max_recv_wr = 4, .max_send_sge = 1,
			 .max_recv_sge = 1 },
		.sq_sig_all = 1,
	};
	struct rdma_cm_id *id;

	check_rc(rdma_getaddrinfo(host(AF_INET), port, &hints, &res), 0);
	if (rdma_create_ep(&id, res, NULL, &attr))
		test_failed(__FILE__, __LINE__, "rdma_create_ep: %s",
			    strerror(errno));
	rdma_freeaddrinfo(res);
	return id;
}

static void ep_exchange(struct rdma_cm_id *id, bool first, char *mem)
{
	struct ibv_mr *mr = rdma_reg_msgs(id, mem, 2 * KIB);
	struct ibv_wc wc;

	check(mr);
	fill(mem, KIB, first);
	if (!first)
		check_eq(rdma_get_recv_comp(id, &wc), 1);
	check_rc(rdma_post_send(id, NULL, mem, KIB, mr, 0), 0);
	check_eq(rdma_get_send_comp(id, &wc), 1);
	check_eq(wc.status, IBV_WC_SUCCESS);
	if (first)
		check_eq(rdma_get_recv_comp(id, &wc), 1);
	check_fill(mem + KIB, KIB, !first);
	check_rc(rdma_dereg_mr(mr), 0);
}

static void *ep_client(void *port)
{
	static char mem[2 * KIB];
	struct rdma_cm_id *id = make_ep(port, 0);
	struct ibv_mr *mr = rdma_reg_msgs(id, mem, sizeof(mem));

	check(mr);
	check_rc(rdma_post_recv(id, NULL, mem + KIB, KIB, mr), 0);
	check_rc(rdma_connect(id, NULL), 0);
	ep_exchange(id, true, mem);
	check_rc(rdma_disconnect(id), 0);
	check_rc(rdma_dereg_mr(mr), 0);
	rdma_destroy_ep(id);
	return NULL;
}

/* The synchronous calls, in two threads. */
static void endpoints(void)
{
	static char mem[2 * KIB];
	struct rdma_cm_id *lis = make_ep("0", RAI_PASSIVE), *id;
	struct ibv_mr *mr;
	pthread_t thread;
	char port[8];

	check_rc(rdma_listen(lis, 1), 0);
	snprintf(port, sizeof(port), "%u", ntohs(rdma_get_src_port(lis)));
	check_rc(pthread_create(&thread, NULL, ep_client, port), 0);
	check_rc(rdma_get_request(lis, &id), 0);
	mr = rdma_reg_msgs(id, mem, sizeof(mem));
	check(mr);
	check_rc(rdma_post_recv(id, NULL, mem + KIB, KIB, mr), 0);
	check_rc(rdma_accept(id, NULL), 0);
	ep_exchange(id, false, mem);
	/* Both: it waits for the other side's, in kernel mode. */
	check_rc(rdma_disconnect(id), 0);
	check_rc(pthread_join(thread, NULL), 0);
	check_rc(rdma_dereg_mr(mr), 0);
	rdma_destroy_ep(id);
	rdma_destroy_ep(lis);
}

static const struct test_case cases[] = {
	CASE(private_data),
	CASE(private_data_ipv6),
	CASE(too_much_private_data),
	CASE(too_much_to_accept),
	CASE(reject),
	CASE(destroyed_request),
	CASE(nobody),
	CASE(datagrams),
	CASE(datagrams_too_much),
	CASE(datagrams_rejected),
	CASE(families_mixed),
	CASE(link_local_unscoped),
	CASE(ports),
	CASE(options),
	CASE(nonblocking),
	CASE(migrate),
	CASE(migrate_listener),
	CASE(backlog),
	CASE(no_rtu),
	CASE(client_killed),
	CASE(server_killed),
	CASE(killed_parent),
	CASE(user_changed),
	CASE(closed_channel),
	CASE(cancelled),
	CASE_LIMIT(cancelled_exit, 20),
	CASE_LIMIT(cycles, 120),
	CASE(endpoints),
	CASES_END
};

int main(int argc, char **argv)
{
	return test_main(argc, argv, cases);
}
