// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * main.c - the module: its parameters, `rdma link add`, and devices that come
 * and go with their network interfaces.
 */
#define pr_fmt(fmt)	KBUILD_MODNAME ": " fmt

#include <linux/etherdevice.h>
#include <linux/if_arp.h>
#include <linux/if_vlan.h>
#include <linux/inetdevice.h>
#include <linux/module.h>
#include <linux/netdevice.h>
#include <linux/random.h>
#include <linux/rtnetlink.h>
#include <net/addrconf.h>
#include <net/tcp.h>
#include <rdma/rdma_netlink.h>
#include <rdma/uverbs_ioctl.h>

#include "tcpzc.h"

/* ---- parameters --------------------------------------------------------- */

ushort tcpzc_port = TZ_WELL_KNOWN_PORT;
module_param_named(port, tcpzc_port, ushort, 0444);
MODULE_PARM_DESC(port, "well-known TCP port; the same on all hosts (4795)");

uint tcpzc_copy_threshold = 2048;
module_param_named(copy_threshold, tcpzc_copy_threshold, uint, 0644);
MODULE_PARM_DESC(copy_threshold,
		 "payload of up to so many bytes, at most 32768, is copied when sent, more is sent by reference; of queue pairs created from now on (2048)");

uint tcpzc_min_retry_ms = 3000;
module_param_named(min_retry_ms, tcpzc_min_retry_ms, uint, 0644);
MODULE_PARM_DESC(min_retry_ms,
		 "a silent peer is given at least so many milliseconds; of queue pairs created from now on (3000)");

uint tcpzc_max_silence_ms = 60000;
module_param_named(max_silence_ms, tcpzc_max_silence_ms, uint, 0644);
MODULE_PARM_DESC(max_silence_ms,
		 "a silent peer whose host is there is given so many milliseconds, 0: no more than another; of queue pairs created from now on (60000)");

uint tcpzc_by_reference = TCPZC_REFER_FAR;
module_param_named(by_reference, tcpzc_by_reference, uint, 0644);
MODULE_PARM_DESC(by_reference,
		 "packets refer to registered pages: 0: never, 1: if no process of this host can be the receiver, 2: always, which trusts all of them (1)");

static char tcpzc_cc_name[TCP_CA_NAME_MAX];
char *tcpzc_cc = tcpzc_cc_name;

/* Ask TCP whether there is an algorithm of that name; it may load it. */
static int tcpzc_cc_check(char *name)
{
	struct socket *sock;
	int rc;

	rc = sock_create_kern(&init_net, AF_INET, SOCK_STREAM, IPPROTO_TCP,
			      &sock);
	if (rc)
		return rc;
	rc = sock->ops->setsockopt(sock, SOL_TCP, TCP_CONGESTION,
				   KERNEL_SOCKPTR(name), strlen(name));
	sock_release(sock);
	return rc;
}

static int tcpzc_cc_set(const char *val, const struct kernel_param *kp)
{
	char buf[TCP_CA_NAME_MAX + 1], *name;
	int rc;

	if (strscpy(buf, val, sizeof(buf)) < 0)
		return -EINVAL;
	name = strim(buf);
	if (strlen(name) >= TCP_CA_NAME_MAX)
		return -EINVAL;
	rc = *name ? tcpzc_cc_check(name) : 0;
	if (!rc)
		strscpy(tcpzc_cc_name, name, sizeof(tcpzc_cc_name));
	return rc;
}

static int tcpzc_cc_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "%s\n", tcpzc_cc_name);
}

static const struct kernel_param_ops tcpzc_cc_ops = {
	.set = tcpzc_cc_set,
	.get = tcpzc_cc_get,
};

module_param_cb(cc, &tcpzc_cc_ops, NULL, 0644);
MODULE_PARM_DESC(cc,
		 "congestion control of connections made from now on (empty: the network namespace's default)");

/* ---- devices ------------------------------------------------------------ */

struct workqueue_struct *tcpzc_wq;

/* Last of all; also of a device that was never registered. */
static void tcpzc_dealloc(struct ib_device *ibdev)
{
	struct tcpzc_dev *dev = to_tdev(ibdev);

	tcpzc_refs_exit(dev);
	if (dev->tnet)
		tcpzc_listen_del(dev);
	WARN_ON(!xa_empty(&dev->qps));
	WARN_ON(!xa_empty(&dev->mrs));
	WARN_ON(!xa_empty(&dev->counters));
	xa_destroy(&dev->qps);
	xa_destroy(&dev->mrs);
	ida_destroy(&dev->pdns);
	free_percpu(dev->pcpu);
	netdev_put(dev->netdev, &dev->netdev_tracker);
}

static const struct ib_device_ops tcpzc_device_ops = {
	.owner = THIS_MODULE,
	.driver_id = TCPZC_DRIVER_ID,
	.uverbs_abi_ver = TCPZC_ABI_VERSION,

	.alloc_pd = tcpzc_alloc_pd,
	.alloc_ucontext = tcpzc_alloc_ucontext,
	.create_ah = tcpzc_create_ah,
	TCPZC_CREATE_CQ(tcpzc_create_cq),
	.create_qp = tcpzc_create_qp,
	.create_srq = tcpzc_create_srq,
	.create_user_ah = tcpzc_create_ah,
	.dealloc_driver = tcpzc_dealloc,
	.dealloc_pd = tcpzc_dealloc_pd,
	.dealloc_ucontext = tcpzc_dealloc_ucontext,
	.dereg_mr = tcpzc_dereg_mr,
	.destroy_ah = tcpzc_destroy_ah,
	.destroy_cq = tcpzc_destroy_cq,
	.destroy_qp = tcpzc_destroy_qp,
	.destroy_srq = tcpzc_destroy_srq,
	.disassociate_ucontext = tcpzc_disassociate_ucontext,
	.get_dev_fw_str = tcpzc_get_fw_str,
	.get_dma_mr = tcpzc_get_dma_mr,
	.get_link_layer = tcpzc_link_layer,
	.get_port_immutable = tcpzc_port_immutable,
	.mmap = tcpzc_mmap,
	.mmap_free = tcpzc_mmap_free,
	.modify_qp = tcpzc_modify_qp,
	.modify_srq = tcpzc_modify_srq,
	.poll_cq = tcpzc_poll_cq,
	.post_recv = tcpzc_post_recv,
	.post_send = tcpzc_post_send,
	.post_srq_recv = tcpzc_post_srq_recv,
	.query_ah = tcpzc_query_ah,
	.query_device = tcpzc_query_device,
	.query_pkey = tcpzc_query_pkey,
	.query_port = tcpzc_query_port,
	.query_qp = tcpzc_query_qp,
	.query_srq = tcpzc_query_srq,
	.reg_user_mr = tcpzc_reg_user_mr,
	.reg_user_mr_dmabuf = tcpzc_reg_user_mr_dmabuf,
	.req_notify_cq = tcpzc_req_notify_cq,
	.rereg_user_mr = tcpzc_rereg_user_mr,
	.resize_tcpzc_cq = tcpzc_resize_cq,

	INIT_RDMA_OBJ_SIZE(ib_ah, tcpzc_ah, ib),
	INIT_RDMA_OBJ_SIZE(ib_cq, tcpzc_cq, ib),
	INIT_RDMA_OBJ_SIZE(ib_pd, tcpzc_pd, ib),
	INIT_RDMA_OBJ_SIZE(ib_qp, tcpzc_ibqp, ib),
	INIT_RDMA_OBJ_SIZE(ib_srq, tcpzc_srq, ib),
	INIT_RDMA_OBJ_SIZE(ib_ucontext, tcpzc_ucontext, ib),
};

/* The node's GUID comes from the interface's address, if it has one. */
static void tcpzc_set_guid(struct ib_device *ibdev,
			   const struct net_device *netdev)
{
	u8 mac[ETH_ALEN] = {};

	memcpy(mac, netdev->dev_addr, min_t(size_t, netdev->addr_len, ETH_ALEN));
	if (is_zero_ether_addr(mac))
		eth_random_addr(mac);
	addrconf_addr_eui48((u8 *)&ibdev->node_guid, mac);
}

static void tcpzc_init_ibdev(struct ib_device *ibdev, struct net_device *netdev)
{
	ibdev->node_type = RDMA_NODE_IB_CA;
	strscpy(ibdev->node_desc, "tcpzc", sizeof(ibdev->node_desc));
	ibdev->phys_port_cnt = 1;
	ibdev->num_comp_vectors = 1;
	ibdev->dev.parent = netdev->dev.parent;
	tcpzc_set_guid(ibdev, netdev);
	/* Doorbells; what they announce is in the rings. */
	ibdev->uverbs_cmd_mask |= BIT_ULL(IB_USER_VERBS_CMD_POST_SEND) |
				  BIT_ULL(IB_USER_VERBS_CMD_POST_RECV) |
				  BIT_ULL(IB_USER_VERBS_CMD_POST_SRQ_RECV) |
				  BIT_ULL(IB_USER_VERBS_CMD_REQ_NOTIFY_CQ);
	ib_set_device_ops(ibdev, &tcpzc_device_ops);
	ib_set_device_ops(ibdev, &tcpzc_stats_ops);
}

/* ib_core looks at its table of the interface's addresses once more. */
static void tcpzc_gids_work(struct work_struct *work)
{
	struct tcpzc_dev *dev = container_of(work, struct tcpzc_dev, gids_work);

	if (xchg(&dev->gids_fewer, false))
		tcpzc_forget_gids(&dev->ib, TCPZC_PORT_NUM, dev->netdev);
	tcpzc_rescan_gids(&dev->ib, TCPZC_PORT_NUM);
	ib_device_put(&dev->ib);
}

static struct lock_class_key tcpzc_qps_lock_key;

/* ib_dealloc_device() undoes what of this was done. */
static int tcpzc_dev_init(struct tcpzc_dev *dev, struct net_device *netdev)
{
	dev->netdev = netdev;
	netdev_hold(netdev, &dev->netdev_tracker, GFP_KERNEL);
	dev->net = dev_net(netdev);
	dev->ifindex = netdev->ifindex;
	xa_init_flags(&dev->qps, XA_FLAGS_ALLOC | XA_FLAGS_LOCK_IRQ);
	init_rwsem(&dev->qps_sem);
	/* xa_init_flags() makes one lock class of all that a file calls it for. */
	lockdep_set_class(&dev->qps.xa_lock, &tcpzc_qps_lock_key);
	xa_init_flags(&dev->mrs, XA_FLAGS_ALLOC);
	get_random_bytes(&dev->secret, sizeof(dev->secret));
	tcpzc_dma_mr_init(dev);
	spin_lock_init(&dev->refs_lock);
	INIT_LIST_HEAD(&dev->refs);
	ida_init(&dev->pdns);
	mutex_init(&dev->stats_lock);
	INIT_WORK(&dev->gids_work, tcpzc_gids_work);
	xa_init_flags(&dev->counters, XA_FLAGS_ALLOC1);
	dev->port_state = tcpzc_port_state(netdev);
	tcpzc_init_ibdev(&dev->ib, netdev);
	dev->pcpu = alloc_percpu(struct tcpzc_pcpu);
	if (!dev->pcpu)
		return -ENOMEM;
	return ib_device_set_netdev(&dev->ib, netdev, TCPZC_PORT_NUM);
}

static int tcpzc_dev_add(const char *name, struct net_device *netdev)
{
	struct tcpzc_dev *dev;
	int rc;

	dev = tcpzc_alloc_device(tcpzc_dev, ib, dev_net(netdev));
	if (!dev)
		return -ENOMEM;
	rc = tcpzc_dev_init(dev, netdev);
	if (!rc)
		rc = tcpzc_listen_add(dev);
	if (rc == -EADDRINUSE)
		pr_err("%s: TCP or UDP port %u is taken in the network namespace\n",
		       name, tcpzc_port);
	if (rc)
		goto err_dealloc;
	ib_mark_name_assigned_by_user(&dev->ib);
	rc = ib_register_device(&dev->ib, name, NULL);
	if (rc)
		goto err_dealloc;
	return 0;

err_dealloc:
	ib_dealloc_device(&dev->ib);
	return rc;
}

static struct ib_device *tcpzc_dev_of(struct net_device *netdev)
{
	return ib_device_get_by_netdev(netdev, TCPZC_DRIVER_ID);
}

/*
 * The event of the interface's end is lost on a device that is not registered
 * yet when it comes.
 */
static int tcpzc_dev_recheck(struct net_device *netdev, const struct net *net)
{
	struct ib_device *ibdev;
	bool ok;

	rtnl_lock();
	ok = netdev->reg_state == NETREG_REGISTERED && dev_net(netdev) == net;
	rtnl_unlock();
	if (ok)
		return 0;
	ibdev = tcpzc_dev_of(netdev);
	if (ibdev)
		ib_unregister_device_and_put(ibdev);
	return -ENODEV;
}

/*
 * `rdma link add` shows an error number; the reason is in the log. ib_core gives a
 * VLAN's addresses to devices of the interface below and to no other.
 */
static int tcpzc_netdev_check(const struct net_device *netdev)
{
	if (is_vlan_dev(netdev)) {
		pr_err("%s is a VLAN: its addresses are those of a device on %s\n",
		       netdev->name, vlan_dev_real_dev(netdev)->name);
		return -EOPNOTSUPP;
	}
	switch (netdev->type) {
	case ARPHRD_ETHER:
	case ARPHRD_LOOPBACK:
	case ARPHRD_NONE:
	case ARPHRD_TUNNEL:
	case ARPHRD_TUNNEL6:
	case ARPHRD_SIT:
	case ARPHRD_IPGRE:
	case ARPHRD_IP6GRE:
		return 0;
	default:
		pr_err("%s is neither Ethernet, nor loopback, nor an IP tunnel\n",
		       netdev->name);
		return -EOPNOTSUPP;
	}
}

static int tcpzc_newlink(const char *name, struct net_device *netdev)
{
	static DEFINE_MUTEX(lock);	/* one device for each interface */
	struct net *net = dev_net(netdev);
	struct ib_device *ibdev;
	int rc;

	rc = tcpzc_netdev_check(netdev);
	if (rc)
		return rc;
	mutex_lock(&lock);
	ibdev = tcpzc_dev_of(netdev);
	if (ibdev) {
		ib_device_put(ibdev);
		rc = -EEXIST;
	} else {
		rc = tcpzc_dev_add(name, netdev);
		if (!rc)
			rc = tcpzc_dev_recheck(netdev, net);
	}
	mutex_unlock(&lock);
	return rc;
}

static struct rdma_link_ops tcpzc_link_ops = {
	.type = "tcpzc",
	.newlink = tcpzc_newlink,
};

/* ---- network interfaces ------------------------------------------------- */

enum ib_port_state tcpzc_port_state(const struct net_device *netdev)
{
	return netif_running(netdev) && netif_carrier_ok(netdev) ?
		       IB_PORT_ACTIVE : IB_PORT_DOWN;
}

/* Where ib_core does not do it itself. */
static void tcpzc_port_event(struct tcpzc_dev *dev)
{
	enum ib_port_state state = tcpzc_port_state(dev->netdev);
	struct ib_event event = {
		.device = &dev->ib,
		.element.port_num = TCPZC_PORT_NUM,
		.event = state == IB_PORT_ACTIVE ? IB_EVENT_PORT_ACTIVE :
						   IB_EVENT_PORT_ERR,
	};

	if (dev->port_state == state)
		return;
	dev->port_state = state;
	ib_dispatch_event(&event);
}

/*
 * Changes of addresses are ib_core's business (its GID table), a change of the
 * MTU nobody's: it is asked for when the port is queried.
 */
static int tcpzc_netdev_event(struct notifier_block *nb, unsigned long event,
			      void *arg)
{
	struct ib_device *ibdev;

	ibdev = tcpzc_dev_of(netdev_notifier_info_to_dev(arg));
	if (!ibdev)
		return NOTIFY_DONE;
	switch (event) {
	case NETDEV_UNREGISTER:		/* also: it leaves the namespace */
		ib_unregister_device_queued(ibdev);
		break;
	case NETDEV_UP:
	case NETDEV_DOWN:
	case NETDEV_CHANGE:
		if (TCPZC_PORT_EVENTS)
			tcpzc_port_event(to_tdev(ibdev));
		break;
	default:
		break;
	}
	ib_device_put(ibdev);
	return NOTIFY_DONE;
}

static struct notifier_block tcpzc_netdev_nb = {
	.notifier_call = tcpzc_netdev_event,
};

/*
 * ib_core follows the addresses of Ethernet interfaces; those of others it only looks
 * at when it is asked to. May be called in atomic context.
 */
static int tcpzc_addr_event(struct net_device *netdev, unsigned long event)
{
	struct ib_device *ibdev;

	if (netdev->type == ARPHRD_ETHER)
		return NOTIFY_DONE;
	ibdev = tcpzc_dev_of(netdev);
	if (!ibdev)
		return NOTIFY_DONE;
	if (event == NETDEV_DOWN)
		WRITE_ONCE(to_tdev(ibdev)->gids_fewer, true);
	/* The work has a reference of its own. */
	if (!queue_work(tcpzc_wq, &to_tdev(ibdev)->gids_work))
		ib_device_put(ibdev);
	return NOTIFY_DONE;
}

static int tcpzc_inet_event(struct notifier_block *nb, unsigned long event,
			    void *arg)
{
	const struct in_ifaddr *ifa = arg;

	return tcpzc_addr_event(ifa->ifa_dev->dev, event);
}

static int tcpzc_inet6_event(struct notifier_block *nb, unsigned long event,
			     void *arg)
{
	const struct inet6_ifaddr *ifa = arg;

	return tcpzc_addr_event(ifa->idev->dev, event);
}

static struct notifier_block tcpzc_inet_nb = {
	.notifier_call = tcpzc_inet_event,
};

static struct notifier_block tcpzc_inet6_nb = {
	.notifier_call = tcpzc_inet6_event,
};

static void tcpzc_watch_addresses(void)
{
	register_inetaddr_notifier(&tcpzc_inet_nb);
	if (IS_ENABLED(CONFIG_IPV6))
		register_inet6addr_notifier(&tcpzc_inet6_nb);
}

static void tcpzc_unwatch_addresses(void)
{
	if (IS_ENABLED(CONFIG_IPV6))
		unregister_inet6addr_notifier(&tcpzc_inet6_nb);
	unregister_inetaddr_notifier(&tcpzc_inet_nb);
}

/* ---- the device's end --------------------------------------------------- */

/*
 * A device that goes takes the objects of processes with it, without a
 * completion for what they have posted, and who polls would poll for ever.
 * ib_core tells its clients in turn, the last one first. So this client, which
 * comes after ib_uverbs (MODULE_SOFTDEP), can flush the queue pairs before.
 */
static int tcpzc_client_add(struct ib_device *ibdev)
{
	return ibdev->ops.driver_id == TCPZC_DRIVER_ID ? 0 : -EOPNOTSUPP;
}

static void tcpzc_client_remove(struct ib_device *ibdev, void *data)
{
	tcpzc_qps_abandon(to_tdev(ibdev));
}

static struct ib_client tcpzc_client = {
	.name = "tcpzc",
	.add = tcpzc_client_add,
	.remove = tcpzc_client_remove,
	.no_kverbs_req = 1,
};

/* ---- module ------------------------------------------------------------- */

static int __init tcpzc_init(void)
{
	int rc;

	if (!tcpzc_port) {
		pr_err("port=0: there is no such port\n");
		return -EINVAL;
	}
	tcpzc_wq = alloc_workqueue("tcpzc", WQ_UNBOUND, 0);
	if (!tcpzc_wq)
		return -ENOMEM;
	rc = tcpzc_listen_init();
	if (rc)
		goto err_wq;
	rc = ib_register_client(&tcpzc_client);
	if (rc)
		goto err_listen;
	rc = register_netdevice_notifier(&tcpzc_netdev_nb);
	if (rc)
		goto err_client;
	tcpzc_watch_addresses();
	rdma_link_register(&tcpzc_link_ops);
	return 0;

err_client:
	ib_unregister_client(&tcpzc_client);
err_listen:
	tcpzc_listen_exit();
err_wq:
	destroy_workqueue(tcpzc_wq);
	return rc;
}

static void __exit tcpzc_exit(void)
{
	rdma_link_unregister(&tcpzc_link_ops);
	tcpzc_unwatch_addresses();
	unregister_netdevice_notifier(&tcpzc_netdev_nb);
	ib_unregister_driver(TCPZC_DRIVER_ID);
	ib_unregister_client(&tcpzc_client);
	tcpzc_listen_exit();
	destroy_workqueue(tcpzc_wq);
}

module_init(tcpzc_init);
module_exit(tcpzc_exit);

MODULE_DESCRIPTION("RDMA verbs over TCP");
MODULE_LICENSE("GPL");
MODULE_ALIAS_RDMA_LINK("tcpzc");
MODULE_SOFTDEP("pre: ib_uverbs");
