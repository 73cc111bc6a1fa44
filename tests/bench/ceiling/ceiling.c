// SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
/*
 * ceiling.c - the most that kernel TCP gives a kernel module: no protocol, no
 * queues, no user space, only payload.
 *
 * A kernel thread sends its pages again and again by MSG_SPLICE_PAGES, which
 * does not copy them, to a socket in another network namespace, whose
 * data_ready copies them out of the socket's buffers into a buffer, in the
 * softirq in which they arrive. That is one copy, and no wake-up, per byte.
 *
 * /sys/kernel/debug/tcpzc_ceiling/run takes
 *
 *	listen PORT			in the receiver's network namespace
 *	send ADDRESS PORT BYTES MS HOW	in the sender's: calls of BYTES for MS
 *					milliseconds; HOW is "splice" or "copy"
 *
 * and tells "BYTES NANOSECONDS" of the last run. For tests/bench only.
 */
#include <linux/bvec.h>
#include <linux/debugfs.h>
#include <linux/inet.h>
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nsproxy.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vmalloc.h>
#include <net/net_namespace.h>
#include <net/sock.h>
#include <net/tcp.h>

#define MAX_CALL_BYTES	(1 << 20)
#define MAX_PAGES	(MAX_CALL_BYTES >> PAGE_SHIFT)
#define DRAIN_TIMEOUT	(10 * HZ)

struct ceiling_run {
	struct sockaddr_in	peer;
	struct net		*net;		/* the sender's */
	unsigned int		call_bytes;
	unsigned int		run_ms;
	bool			splice;

	struct socket		*tx, *rx;
	void			(*rx_data_ready)(struct sock *sk);
	struct page		*pages[MAX_PAGES];
	struct bio_vec		bvec[MAX_PAGES];
	u8			*buffer;	/* what has been received */
	u64			sent, received;	/* bytes */
	u64			start_ns, end_ns;
	wait_queue_head_t	arrived;
	struct completion	ended;
	int			error;
};

static DEFINE_MUTEX(ceiling_mutex);		/* all below, one run at a time */
static struct socket *ceiling_listener;
static struct net *ceiling_listener_net;
static u64 ceiling_bytes, ceiling_ns;
static struct dentry *ceiling_dir;

/* ---- receiving: in softirq, under the socket's lock ---- */

static int ceiling_take(read_descriptor_t *desc, struct sk_buff *skb,
			unsigned int offset, size_t len)
{
	struct ceiling_run *run = desc->arg.data;
	size_t left = len;

	while (left) {
		u32 at = run->received % run->call_bytes;
		size_t n = min_t(size_t, left, run->call_bytes - at);

		if (skb_copy_bits(skb, offset, run->buffer + at, n))
			return -EFAULT;
		run->received += n;
		offset += n;
		left -= n;
	}
	return len;
}

static void ceiling_data_ready(struct sock *sk)
{
	struct ceiling_run *run;
	read_descriptor_t desc = { .count = 1 };

	read_lock_bh(&sk->sk_callback_lock);
	run = sk->sk_user_data;
	if (run) {
		desc.arg.data = run;
		tcp_read_sock(sk, &desc, ceiling_take);
		run->end_ns = ktime_get_ns();
		if (run->received == READ_ONCE(run->sent))
			wake_up(&run->arrived);
	}
	read_unlock_bh(&sk->sk_callback_lock);
}

static void ceiling_hook(struct ceiling_run *run, bool on)
{
	struct sock *sk = run->rx->sk;

	write_lock_bh(&sk->sk_callback_lock);
	if (on) {
		run->rx_data_ready = sk->sk_data_ready;
		sk->sk_data_ready = ceiling_data_ready;
	} else {
		sk->sk_data_ready = run->rx_data_ready;
	}
	sk->sk_user_data = on ? run : NULL;
	write_unlock_bh(&sk->sk_callback_lock);
}

/* ---- sending ---- */

static int ceiling_call(struct ceiling_run *run)
{
	struct msghdr msg = { .msg_flags = run->splice ? MSG_SPLICE_PAGES : 0 };
	int sent;

	iov_iter_bvec(&msg.msg_iter, ITER_SOURCE, run->bvec,
		      DIV_ROUND_UP(run->call_bytes, PAGE_SIZE), run->call_bytes);
	while (msg_data_left(&msg)) {
		/* Counted first, so that the receiver is never ahead. */
		WRITE_ONCE(run->sent, run->sent + msg_data_left(&msg));
		sent = sock_sendmsg(run->tx, &msg);
		WRITE_ONCE(run->sent, run->sent - msg_data_left(&msg));
		if (sent <= 0)
			return sent ? sent : -EPIPE;
	}
	return 0;
}

static int ceiling_send(struct ceiling_run *run)
{
	u64 until;
	int err = 0;

	run->start_ns = ktime_get_ns();
	until = run->start_ns + run->run_ms * NSEC_PER_MSEC;
	while (!err && ktime_get_ns() < until)
		err = ceiling_call(run);
	if (err)
		return err;
	if (!wait_event_timeout(run->arrived,
				READ_ONCE(run->received) == run->sent,
				DRAIN_TIMEOUT))
		return -ETIMEDOUT;
	return 0;
}

/* The stream repeats itself with each call, so the buffer is the pages. */
static int ceiling_verify(struct ceiling_run *run)
{
	unsigned int i, at;

	for (i = 0; i < DIV_ROUND_UP(run->call_bytes, PAGE_SIZE); i++) {
		at = i << PAGE_SHIFT;
		if (memcmp(run->buffer + at, page_address(run->pages[i]),
			   min_t(u32, PAGE_SIZE, run->call_bytes - at)))
			return -EBADMSG;
	}
	return 0;
}

static int ceiling_connect(struct ceiling_run *run)
{
	int err;

	err = sock_create_kern(run->net, AF_INET, SOCK_STREAM, IPPROTO_TCP,
			       &run->tx);
	if (err)
		return err;
	err = kernel_connect(run->tx, (void *)&run->peer, sizeof(run->peer), 0);
	if (err)
		return err;
	err = kernel_accept(ceiling_listener, &run->rx, 0);
	if (err)
		return err;
	ceiling_hook(run, true);
	return 0;
}

static void ceiling_disconnect(struct ceiling_run *run)
{
	if (run->rx) {
		ceiling_hook(run, false);
		sock_release(run->rx);
	}
	if (run->tx)
		sock_release(run->tx);
}

static int ceiling_thread(void *data)
{
	struct ceiling_run *run = data;

	run->error = ceiling_connect(run);
	if (!run->error)
		run->error = ceiling_send(run);
	if (!run->error)
		run->error = ceiling_verify(run);
	ceiling_disconnect(run);
	complete(&run->ended);
	return 0;
}

/* ---- memory ---- */

static void ceiling_free(struct ceiling_run *run)
{
	unsigned int i;

	for (i = 0; i < MAX_PAGES; i++)
		if (run->pages[i])
			put_page(run->pages[i]);
	vfree(run->buffer);
	kvfree(run);
}

static struct ceiling_run *ceiling_alloc(void)
{
	struct ceiling_run *run = kvzalloc(sizeof(*run), GFP_KERNEL);
	unsigned int i;

	if (!run)
		return NULL;
	init_waitqueue_head(&run->arrived);
	init_completion(&run->ended);
	run->buffer = vzalloc(MAX_CALL_BYTES);
	if (!run->buffer)
		goto err_free;
	for (i = 0; i < MAX_PAGES; i++) {
		run->pages[i] = alloc_page(GFP_KERNEL);
		if (!run->pages[i])
			goto err_free;
		get_random_bytes(page_address(run->pages[i]), PAGE_SIZE);
		bvec_set_page(&run->bvec[i], run->pages[i], PAGE_SIZE, 0);
	}
	return run;

err_free:
	ceiling_free(run);
	return NULL;
}

/* ---- commands ---- */

static void ceiling_unlisten(void)
{
	if (!ceiling_listener)
		return;
	sock_release(ceiling_listener);
	ceiling_listener = NULL;
	put_net(ceiling_listener_net);
}

static int ceiling_listen(u16 port)
{
	struct net *net = get_net(current->nsproxy->net_ns);
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
	};
	int err;

	ceiling_unlisten();
	err = sock_create_kern(net, AF_INET, SOCK_STREAM, IPPROTO_TCP,
			       &ceiling_listener);
	if (err) {
		put_net(net);
		return err;
	}
	ceiling_listener_net = net;
	sock_set_reuseaddr(ceiling_listener->sk);
	err = kernel_bind(ceiling_listener, (void *)&addr, sizeof(addr));
	if (!err)
		err = kernel_listen(ceiling_listener, 1);
	if (err)
		ceiling_unlisten();
	return err;
}

static int ceiling_start(struct ceiling_run *run)
{
	struct task_struct *task;

	if (!ceiling_listener)
		return -ENOTCONN;
	run->net = get_net(current->nsproxy->net_ns);
	task = kthread_run(ceiling_thread, run, "tcpzc_ceiling");
	if (IS_ERR(task)) {
		put_net(run->net);
		return PTR_ERR(task);
	}
	wait_for_completion(&run->ended);
	put_net(run->net);
	ceiling_bytes = run->received;
	ceiling_ns = run->end_ns - run->start_ns;
	return run->error;
}

static int ceiling_parse(struct ceiling_run *run, const char *command)
{
	char address[16], how[8];
	u16 port;

	if (sscanf(command, "send %15s %hu %u %u %7s", address, &port,
		   &run->call_bytes, &run->run_ms, how) != 5)
		return -EINVAL;
	if (!run->call_bytes || run->call_bytes > MAX_CALL_BYTES)
		return -EINVAL;
	run->splice = !strcmp(how, "splice");
	if (!run->splice && strcmp(how, "copy"))
		return -EINVAL;
	run->peer.sin_family = AF_INET;
	run->peer.sin_port = htons(port);
	if (!in4_pton(address, -1, (u8 *)&run->peer.sin_addr, -1, NULL))
		return -EINVAL;
	return 0;
}

static int ceiling_command(const char *command)
{
	struct ceiling_run *run;
	u16 port;
	int err;

	if (sscanf(command, "listen %hu", &port) == 1)
		return ceiling_listen(port);
	run = ceiling_alloc();
	if (!run)
		return -ENOMEM;
	err = ceiling_parse(run, command);
	if (!err)
		err = ceiling_start(run);
	ceiling_free(run);
	return err;
}

static ssize_t ceiling_write(struct file *file, const char __user *from,
			     size_t count, loff_t *pos)
{
	char command[80];
	int err;

	if (count >= sizeof(command))
		return -EINVAL;
	if (copy_from_user(command, from, count))
		return -EFAULT;
	command[count] = '\0';
	mutex_lock(&ceiling_mutex);
	err = ceiling_command(command);
	mutex_unlock(&ceiling_mutex);
	return err ? err : count;
}

static ssize_t ceiling_read(struct file *file, char __user *to, size_t count,
			    loff_t *pos)
{
	char text[48];
	int len;

	mutex_lock(&ceiling_mutex);
	len = scnprintf(text, sizeof(text), "%llu %llu\n", ceiling_bytes,
			ceiling_ns);
	mutex_unlock(&ceiling_mutex);
	return simple_read_from_buffer(to, count, pos, text, len);
}

static const struct file_operations ceiling_fops = {
	.owner = THIS_MODULE,
	.read = ceiling_read,
	.write = ceiling_write,
};

static int __init ceiling_init(void)
{
	ceiling_dir = debugfs_create_dir("tcpzc_ceiling", NULL);
	debugfs_create_file("run", 0600, ceiling_dir, NULL, &ceiling_fops);
	return 0;
}

static void __exit ceiling_exit(void)
{
	debugfs_remove(ceiling_dir);
	ceiling_unlisten();
}

module_init(ceiling_init);
module_exit(ceiling_exit);
MODULE_DESCRIPTION("tcpzc's benchmark: what kernel TCP can carry at most");
MODULE_LICENSE("Dual BSD/GPL");
