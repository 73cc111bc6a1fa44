// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * stats.c - counters for `rdma statistic`, and what `rdma resource` shows.
 *
 * A queue pair's events are counted by its engine. They belong to the counter
 * that the queue pair is bound to at the time (`rdma statistic qp`), otherwise
 * to the port. What the driver counts beside that is the port's.
 */
#include <linux/inet.h>
#include <linux/slab.h>
#include <net/netlink.h>
#include <rdma/rdma_netlink.h>

#include "tcpzc.h"

/* ---- values ------------------------------------------------------------- */

/* In the order of struct tz_stats; then in that of enum tcpzc_counter. */
static const struct rdma_stat_desc tcpzc_stat_descs[] = {
	{ "tx_bytes" }, { "rx_bytes" },
	{ "tx_copied_bytes" }, { "rx_copied_bytes" },
	{ "tx_msgs" }, { "rx_msgs" },
	{ "tx_pdus" }, { "rx_pdus" },
	{ "tx_acks" }, { "rx_acks" },
	{ "tx_rnr_naks" }, { "rx_rnr_naks" },
	{ "tx_naks" }, { "rx_naks" },
	{ "rx_dropped_pdus" },
	{ "rnr_stalls" },
	{ "protocol_errors" },
	{ "lost_msgs" },
	{ "rx_no_receive" },
	{ "rx_bad_key" },

	[TCPZC_QP_STATS + TCPZC_CNT_DOORBELLS] = { "doorbells" },
	[TCPZC_QP_STATS + TCPZC_CNT_TX_TURNS] = { "tx_turns" },
	[TCPZC_QP_STATS + TCPZC_CNT_TX_FULL] = { "tx_full" },
	[TCPZC_QP_STATS + TCPZC_CNT_TX_OWNED] = { "tx_owned" },
	[TCPZC_QP_STATS + TCPZC_CNT_TX_ZCOPY_BYTES] = { "tx_zcopy_bytes" },
	[TCPZC_QP_STATS + TCPZC_CNT_TX_COPY_BYTES] = { "tx_copy_bytes" },
	[TCPZC_QP_STATS + TCPZC_CNT_RX_TURNS] = { "rx_turns" },
	[TCPZC_QP_STATS + TCPZC_CNT_CONNS] = { "conns" },
	[TCPZC_QP_STATS + TCPZC_CNT_CONNS_LOST] = { "conns_lost" },
	[TCPZC_QP_STATS + TCPZC_CNT_CONN_RETRIES] = { "conn_retries" },
	[TCPZC_QP_STATS + TCPZC_CNT_HELLOS_REFUSED] = { "hellos_refused" },
	[TCPZC_QP_STATS + TCPZC_CNT_HELLOS_GARBAGE] = { "hellos_garbage" },
	[TCPZC_QP_STATS + TCPZC_CNT_HELLOS_EXPIRED] = { "hellos_expired" },
	[TCPZC_QP_STATS + TCPZC_CNT_CQ_OVERRUNS] = { "cq_overruns" },
	[TCPZC_QP_STATS + TCPZC_CNT_UD_STRAY] = { "ud_stray" },
};

#define TCPZC_STATS		(TCPZC_QP_STATS + TCPZC_COUNTERS)
static_assert(ARRAY_SIZE(tcpzc_stat_descs) == TCPZC_STATS);
static_assert(sizeof(struct tz_stats) == TCPZC_QP_STATS * sizeof(u64));

static u64 tcpzc_qp_stat(const struct tcpzc_qp *qp, int i)
{
	return ((const u64 *)tz_qp_stats(&qp->eng))[i];
}

/* The events of a queue pair that are the port's. */
static u64 tcpzc_qp_port_stat(const struct tcpzc_qp *qp, int i)
{
	u64 until = qp->ib->counter ? qp->stats_from[i] : tcpzc_qp_stat(qp, i);

	return until - qp->stats_elsewhere[i];
}

void tcpzc_stats_gone(struct tcpzc_qp *qp)
{
	struct tcpzc_dev *dev = qp->dev;
	int i;

	mutex_lock(&dev->stats_lock);
	for (i = 0; i < TCPZC_QP_STATS; i++)
		dev->gone[i] += tcpzc_qp_port_stat(qp, i);
	tz_qp_clear_stats(&qp->eng);
	memset(qp->stats_elsewhere, 0, sizeof(qp->stats_elsewhere));
	mutex_unlock(&dev->stats_lock);
}

/* ---- the port's --------------------------------------------------------- */

static struct rdma_hw_stats *tcpzc_alloc_port_stats(struct ib_device *ibdev,
						    u32 port)
{
	return rdma_alloc_hw_stats_struct(tcpzc_stat_descs, TCPZC_STATS,
					  RDMA_HW_STATS_DEFAULT_LIFESPAN);
}

static void tcpzc_sum_qps(struct tcpzc_dev *dev, u64 *value)
{
	struct tcpzc_qp *qp;
	unsigned long qpn;
	int i;

	memcpy(value, dev->gone, sizeof(dev->gone));
	down_read(&dev->qps_sem);
	xa_for_each(&dev->qps, qpn, qp)
		for (i = 0; i < TCPZC_QP_STATS; i++)
			value[i] += tcpzc_qp_port_stat(qp, i);
	up_read(&dev->qps_sem);
}

static int tcpzc_get_hw_stats(struct ib_device *ibdev,
			      struct rdma_hw_stats *stats, u32 port, int index)
{
	struct tcpzc_dev *dev = to_tdev(ibdev);
	int cpu, i;

	if (port != TCPZC_PORT_NUM)
		return -EINVAL;
	mutex_lock(&dev->stats_lock);
	tcpzc_sum_qps(dev, stats->value);
	mutex_unlock(&dev->stats_lock);
	for (i = 0; i < TCPZC_COUNTERS; i++) {
		u64 sum = 0;

		for_each_possible_cpu(cpu)
			sum += local64_read(&per_cpu_ptr(dev->pcpu, cpu)->cnt[i]);
		stats->value[TCPZC_QP_STATS + i] = sum;
	}
	return TCPZC_STATS;
}

/* ---- counters that queue pairs are bound to ----------------------------- */

/* What a counter has counted of queue pairs that are not bound to it any more. */
struct tcpzc_bound {
	u64 value[TCPZC_QP_STATS];
};

/* ib_core has room for it in @counter in newer kernels only: found by its id. */
static struct tcpzc_bound *tcpzc_bound_of(const struct rdma_counter *counter)
{
	return xa_load(&to_tdev(counter->device)->counters, counter->id);
}

static int tcpzc_counter_new(struct tcpzc_dev *dev, struct rdma_counter *counter)
{
	struct tcpzc_bound *bound = kzalloc(sizeof(*bound), GFP_KERNEL);
	int rc;

	if (!bound)
		return -ENOMEM;
	rc = xa_alloc(&dev->counters, &counter->id, bound,
		      XA_LIMIT(1, INT_MAX), GFP_KERNEL);
	if (rc)
		kfree(bound);
	return rc;
}

static int
tcpzc_counter_bind_qp(TCPZC_COUNTER_PARAMS(struct rdma_counter *counter,
					   struct ib_qp *ibqp))
{
	struct tcpzc_dev *dev = to_tdev(ibqp->device);
	struct tcpzc_qp *qp = to_tqp(ibqp);
	int rc = 0;

	if (!counter->id)
		rc = tcpzc_counter_new(dev, counter);
	if (rc)
		return rc;
	mutex_lock(&dev->stats_lock);
	memcpy(qp->stats_from, tz_qp_stats(&qp->eng), sizeof(qp->stats_from));
	ibqp->counter = counter;
	mutex_unlock(&dev->stats_lock);
	return 0;
}

static int tcpzc_counter_unbind_qp(TCPZC_COUNTER_PARAMS(struct ib_qp *ibqp))
{
	struct tcpzc_bound *bound = tcpzc_bound_of(ibqp->counter);
	struct tcpzc_dev *dev = to_tdev(ibqp->device);
	struct tcpzc_qp *qp = to_tqp(ibqp);
	int i;

	mutex_lock(&dev->stats_lock);
	for (i = 0; i < TCPZC_QP_STATS; i++) {
		u64 n = tcpzc_qp_stat(qp, i) - qp->stats_from[i];

		bound->value[i] += n;
		qp->stats_elsewhere[i] += n;
	}
	ibqp->counter = NULL;
	mutex_unlock(&dev->stats_lock);
	return 0;
}

static int tcpzc_counter_dealloc(struct rdma_counter *counter)
{
	struct tcpzc_dev *dev = to_tdev(counter->device);

	kfree(xa_erase(&dev->counters, counter->id));
	return 0;
}

/* As many as the port has: ib_core adds the two up. */
static struct rdma_hw_stats *
tcpzc_counter_alloc_stats(struct rdma_counter *counter)
{
	return tcpzc_alloc_port_stats(counter->device, counter->port);
}

static int tcpzc_counter_update_stats(struct rdma_counter *counter)
{
	struct tcpzc_bound *bound = tcpzc_bound_of(counter);
	struct tcpzc_dev *dev = to_tdev(counter->device);
	u64 *value = counter->stats->value;
	struct tcpzc_qp *qp;
	unsigned long qpn;
	int i;

	if (!bound)
		return -EINVAL;
	mutex_lock(&dev->stats_lock);
	memcpy(value, bound->value, sizeof(bound->value));
	down_read(&dev->qps_sem);
	xa_for_each(&dev->qps, qpn, qp) {
		if (qp->ib->counter != counter)
			continue;
		for (i = 0; i < TCPZC_QP_STATS; i++)
			value[i] += tcpzc_qp_stat(qp, i) - qp->stats_from[i];
	}
	up_read(&dev->qps_sem);
	mutex_unlock(&dev->stats_lock);
	return 0;
}

#ifdef TCPZC_HAS_COUNTER_INIT
/* What ib_core allocates for a counter has the size that the driver says. */
struct tcpzc_counter_obj {
	struct rdma_counter ib;
};

static void tcpzc_counter_init(struct rdma_counter *counter)
{
}
#endif

/* ---- resources ---------------------------------------------------------- */

static int tcpzc_put_addr(struct sk_buff *msg, const char *name,
			  struct socket *sock,
			  int (*get)(struct socket *, struct sockaddr *))
{
	struct sockaddr_storage ss;
	char text[INET6_ADDRSTRLEN + 16];

	if (get(sock, (struct sockaddr *)&ss) < 0)
		return 0;
	snprintf(text, sizeof(text), "%pISpc", &ss);
	return rdma_nl_put_driver_string(msg, name, text);
}

static int tcpzc_put_conn(struct sk_buff *msg, struct tcpzc_qp *qp)
{
	struct socket *sock = qp->conn.sock;
	int rc;

	rc = rdma_nl_put_driver_string(msg, "conn",
				       tz_dial_state_name(tz_dial_state(&qp->eng)));
	if (!rc && sock)
		rc = tcpzc_put_addr(msg, "local", sock, kernel_getsockname);
	if (!rc && sock)
		rc = tcpzc_put_addr(msg, "peer", sock, kernel_getpeername);
	return rc;
}

struct tcpzc_res {
	const char *name;
	u32 value;
};

static int tcpzc_put_u32s(struct sk_buff *msg, const struct tcpzc_res *res,
			  int n)
{
	int i, rc = 0;

	for (i = 0; i < n && !rc; i++)
		rc = rdma_nl_put_driver_u32(msg, res[i].name, res[i].value);
	return rc;
}

static int tcpzc_put_queues(struct sk_buff *msg, struct tcpzc_qp *qp)
{
	const struct tz_qp *eng = &qp->eng;
	struct tcpzc_res res[] = {
		{ "tx-msn" }, { "acked-msn" }, { "rx-msn" },
		{ "sq-depth" }, { "sq-unsent" }, { "sq-outstanding" },
		{ "rq-depth" }, { "rq-posted" },
	};

	spin_lock_bh(&qp->lock);
	res[0].value = tz_qp_next_msn(eng);
	res[1].value = tz_qp_acked_msn(eng);
	res[2].value = tz_qp_expected_msn(eng);
	res[3].value = tz_qp_made(eng)->sq.depth;
	res[4].value = tz_qp_unsent(eng);
	res[5].value = tz_qp_outstanding(eng);
	res[6].value = tz_qp_made(eng)->rq.depth;
	res[7].value = tz_qp_receives(eng);
	spin_unlock_bh(&qp->lock);
	return tcpzc_put_u32s(msg, res, ARRAY_SIZE(res));
}

static int tcpzc_put_end(struct sk_buff *msg, struct nlattr *table, int rc)
{
	if (rc)
		nla_nest_cancel(msg, table);
	else
		nla_nest_end(msg, table);
	return rc;
}

/* Older kernels may ask for a queue pair that has been destroyed. */
static int tcpzc_fill_qp(struct sk_buff *msg, struct ib_qp *ibqp)
{
	struct nlattr *table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);
	struct tcpzc_ibqp *p = container_of(ibqp, struct tcpzc_ibqp, ib);
	int rc = 0;

	if (!table)
		return -EMSGSIZE;
	mutex_lock(&p->lock);
	if (p->qp) {
		mutex_lock(&p->qp->mutex);
		rc = tcpzc_put_conn(msg, p->qp) ?: tcpzc_put_queues(msg, p->qp);
		mutex_unlock(&p->qp->mutex);
	}
	mutex_unlock(&p->lock);
	return tcpzc_put_end(msg, table, rc);
}

static int tcpzc_fill_cq(struct sk_buff *msg, struct ib_cq *ibcq)
{
	struct nlattr *table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);
	struct tcpzc_res res[] = {
		{ "depth" }, { "unpolled" }, { "armed" }, { "overrun" },
	};
	struct tcpzc_cq *cq = to_tcq(ibcq);

	if (!table)
		return -EMSGSIZE;
	spin_lock_bh(&cq->lock);
	if (cq->ring) {
		res[0].value = cq->ring->depth;
		res[1].value = cq->prod - READ_ONCE(cq->ring->hdr->cons);
		res[2].value = READ_ONCE(cq->ring->hdr->arm);
		res[3].value = cq->overrun;
	}
	spin_unlock_bh(&cq->lock);
	return tcpzc_put_end(msg, table,
			     tcpzc_put_u32s(msg, res, ARRAY_SIZE(res)));
}

static int tcpzc_fill_srq(struct sk_buff *msg, struct ib_srq *ibsrq)
{
	struct nlattr *table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);
	struct tcpzc_res res[] = { { "depth" }, { "posted" }, { "limit" } };
	struct tcpzc_srq *srq = to_tsrq(ibsrq);

	if (!table)
		return -EMSGSIZE;
	spin_lock_bh(&srq->lock);
	if (srq->ring) {
		res[0].value = srq->ring->depth;
		res[1].value = tz_rq_count(&srq->rq);
		res[2].value = srq->limit;
	}
	spin_unlock_bh(&srq->lock);
	return tcpzc_put_end(msg, table,
			     tcpzc_put_u32s(msg, res, ARRAY_SIZE(res)));
}

static int tcpzc_fill_mr(struct sk_buff *msg, struct ib_mr *ibmr)
{
	struct nlattr *table = nla_nest_start(msg, RDMA_NLDEV_ATTR_DRIVER);
	struct tcpzc_mr *mr = to_tmr(ibmr);
	struct tcpzc_res res[] = {
		{ "access", mr->tz.access },
		{ "blocks", mr->blocks.num },
		{ "block-shift", mr->blocks.shift },
		{ "users", refcount_read(&mr->refs) - 1 },
	};

	if (!table)
		return -EMSGSIZE;
	return tcpzc_put_end(msg, table,
			     tcpzc_put_u32s(msg, res, ARRAY_SIZE(res)));
}

const struct ib_device_ops tcpzc_stats_ops = {
	.alloc_hw_port_stats = tcpzc_alloc_port_stats,
	.counter_alloc_stats = tcpzc_counter_alloc_stats,
	.counter_bind_qp = tcpzc_counter_bind_qp,
	.counter_dealloc = tcpzc_counter_dealloc,
#ifdef TCPZC_HAS_COUNTER_INIT
	.counter_init = tcpzc_counter_init,
#endif
	.counter_unbind_qp = tcpzc_counter_unbind_qp,
	.counter_update_stats = tcpzc_counter_update_stats,
	.fill_res_cq_entry = tcpzc_fill_cq,
	.fill_res_mr_entry = tcpzc_fill_mr,
	.fill_res_qp_entry = tcpzc_fill_qp,
	.fill_res_srq_entry = tcpzc_fill_srq,
	.get_hw_stats = tcpzc_get_hw_stats,

#ifdef TCPZC_HAS_COUNTER_INIT
	INIT_RDMA_OBJ_SIZE(rdma_counter, tcpzc_counter_obj, ib),
#endif
};
