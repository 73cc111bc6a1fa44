# SPDX-License-Identifier: GPL-2.0 OR Linux-OpenIB
# shellcheck shell=bash
#
# The parts of scripts/vm, which sources this and has the options' variables.
# shellcheck disable=SC2154,SC2034

# What a kernel says when something is wrong; tests/vm/init says "bad:".
vm_complaints='WARNING:|BUG:|\bBUG\b|KASAN|UBSAN|ODEBUG|INFO: (possible|task|rcu)'
vm_complaints+='|possible (circular|recursive|irq)|inconsistent lock|suspicious RCU'
vm_complaints+='|Call Trace|Oops|Kernel panic|general protection|Segfault with no mm'
vm_complaints+='|unregister_netdevice: waiting|leaked reference|refcount_t:|kmemleak:.*new'
vm_complaints+='|still in use|page allocation failure|Out of memory|tcpzc-vm: bad:'

# The modules, directories of the repository that "make KDIR=" builds.
vm_sources=(kernel-driver tests/bench/ceiling tests/vm/kverbs)

# vm_build MAKE: builds the modules in a copy of them in $tree, because several
# kernels have a build of each. MAKE DIRECTORY does it for a directory of the copy.
vm_build() {
	local part

	[ -z "$as_is" ] || return 0
	mkdir -p "$tree"
	(
		flock 9
		use_ccache "$root"
		for part in engine include/uapi "${vm_sources[@]}"; do
			mkdir -p "$tree/$part"
			vm_copy "$root/$part" "$tree/$part"
			[ -f "$tree/$part/Makefile" ] || continue
			"$1" "$part" >"$tree/build.log" 2>&1 9>&- ||
				die "$part: $(tail -n 40 "$tree/build.log")"
		done
	) 9>"$tree/.lock"
}

# What the source has, with unchanged files keeping their time; what is gone there
# goes here, but not what make has put there (kernel-driver/engine, kernel-driver/uapi).
vm_copy() {
	local name

	(cd "$1" && find . \( -path ./engine -o -path ./uapi \) -prune -o -type f \
		\( -name '*.[chS]' -o -name 'Makefile*' -o -name Kbuild \
		-o -name '*.conf' \) ! -name '*.mod.c' -print) | sort >"$2/.files"
	(cd "$2" && find . \( -path ./engine -o -path ./uapi \) -prune -o -type f -name '*.[ch]' \
		! -name '*.mod.c' -print) | sort | comm -13 "$2/.files" - |
		while read -r name; do rm "$2/$name"; done
	while read -r name; do
		cmp -s "$1/$name" "$2/$name" && continue
		mkdir -p "$2/${name%/*}"
		cp "$1/$name" "$2/$name"
	done <"$2/.files"
}

# vm_install RELEASE DIRECTORY: makes $modules, a directory for modprobe -d with
# the kernel's modules, which DIRECTORY has in the same way, and ours.
vm_install() {
	local release=$1 stock=$2/lib/modules/$1 mine ours

	modules=$tree/modules
	mine=$modules/lib/modules/$release
	mapfile -t ours < <(vm_ours)
	(
		flock 9
		# depmod takes seconds for a distribution's kernel.
		[ -z "$(vm_newer "$mine/modules.dep" "${ours[@]}")" ] && exit
		rm -rf "$modules"
		mkdir -p "$mine/updates"
		ln -s "$stock"/modules.{builtin,order}* "$stock/kernel" "$mine/"
		cp "${ours[@]}" "$mine/updates/"
		depmod -b "$modules" "$release"
	) 9>"$tree/.lock"
}

vm_ours() {
	local part file

	for part in "${vm_sources[@]}"; do
		for file in "$tree/$part"/*.ko; do
			[ ! -f "$file" ] || echo "$file"
		done
	done
}

# vm_newer FILE OTHER...: the others that are newer, or FILE if it is not there.
vm_newer() {
	local file

	[ -f "$1" ] || echo "$1"
	for file in "${@:2}"; do
		[ ! "$file" -nt "$1" ] || echo "$file"
	done
}

vm_provider() {
	if [ -z "$build" ]; then
		build=$("$root/scripts/build" --print-dir)
		mkdir -p "$build"
		"$root/scripts/build" rdma-core 2>"$build/vm-build.log" ||
			die "scripts/build: $(tail -n 40 "$build/vm-build.log")"
	fi
	variables=("LD_LIBRARY_PATH=$build/lib"
		"IBV_DRIVERS=$build/lib/libibverbs/libtcpzc"
		"TCPZC_VM=$kind-$kernel_name" "TCPZC_VM_OUT=/run/out"
		"TERM=${TERM:-dumb}")
	load=(ib_uverbs rdma_ucm ib_umad)
	[ -z "$module" ] || [ ! -f "$tree/kernel-driver/tcpzc.ko" ] || load+=(tcpzc)
	IFS=, read -ra more <<<"$loads"
	load+=(${more[@]:+"${more[@]}"})
}

vm_prepare_uml() {
	kernel_name=$variant
	kernel_dir=$("$root/tests/vm/uml-kernel" ${as_is:+--as-is} "$variant")
	[ "$as_is" ] ||
		deb_install perftest ibverbs-utils rdmacm-utils iproute2 iperf3 kmod
	tree=$root/build/vm/${kernel_dir##*/}
	vm_build vm_make_uml
	vm_install "$(cat "$kernel_dir/include/config/kernel.release")" "$kernel_dir/modules"
	vm_provider
}

vm_make_uml() {
	make -s -C "$tree/$1" ARCH=um KDIR="$kernel_dir" CC="ccache gcc"
}

# The job that tests/vm/init reads.
vm_job() {
	local command=("$@") project=$PWD bed=$kind terminal='' clock

	leaks=${leaks:+leaks}
	clock=$(awk -F': ' '/^cpu MHz/ { print $2; exit }' /proc/cpuinfo)
	: "${clock:=1000.000}"
	[ -z "$input" ] || terminal=$(stty size 2>/dev/null |
		sed 's/\(.*\) \(.*\)/rows \1 cols \2/')
	declare -p bed project shares modules load devices command variables results leaks \
		input output errors terminal clock | sed 's/^declare -[-aAx]* //'
}

# A processor that no other bed of ours runs on, or the last one. It is ours as
# long as file descriptor 8 is open.
vm_cpu() {
	local cpus=()

	mapfile -t cpus < <(python3 -c 'import os
for cpu in sorted(os.sched_getaffinity(0), reverse=True): print(cpu)')
	for cpu in "${cpus[@]}"; do
		exec 8>"$tcpzc_cache/vm-cpu-$cpu.lock"
		flock -n 8 && return
	done
	cpu=${cpus[0]}
}

# Standard input and output are the machine's console, 3 takes the kernel's log, 5
# what the command says on its standard error.
vm_start_uml() {
	local machine

	# shellcheck disable=SC2054 # commas are the kernel's
	machine=("$kernel_dir/linux" seccomp=on "mem=$mem" root=/dev/root
		rootfstype=hostfs rootflags=/ ro "init=$root/tests/vm/init"
		"uml_dir=$dir/" umid=uml panic=-1 "vm_dir=$dir" printk.time=1
		ignore_loglevel console=tty1 con=null con1=null,fd:3 con2=null,fd:5)

	# One processor is one thread of the host's; where it moves it is slow.
	vm_cpu
	case $variant in
	*smp) machine+=(ncpus=4) ;;
	*) machine=(taskset -c "$cpu" "${machine[@]}") ;;
	esac
	[ "${variant#debug}" = "$variant" ] || machine+=(kasan_multi_shot slab_debug=-)
	# Keeping account of all memory doubles what everything takes.
	[ "$leaks" ] || machine+=(kmemleak=off)
	if [ "$input" ]; then
		"${machine[@]}" con0=fd:0,fd:1 2>"$dir/host"
	else
		vm_limited "${machine[@]}" con0=null,fd:1 2>"$dir/host"
	fi
}

vm_prepare_qemu() {
	[ "$as_is" ] || deb_install qemu-system-x86
	kernel_name=$kernel
	kernel_dir=$("$root/tests/vm/debian-root" ${as_is:+--as-is})
	release=$(awk -v name="$kernel" '$1 == name { print $2 }' "$kernel_dir/kernels")
	[ -n "$release" ] || die "no such kernel: $kernel (there are:" \
		"$(cut -d' ' -f1 "$kernel_dir/kernels" | xargs))"
	tree=$root/build/vm/$release
	vm_build vm_make_qemu
	vm_install "$release" "$kernel_dir"
	vm_initramfs
	vm_provider
	vm_shares
}

vm_make_qemu() {
	vm_in_root "$kernel_dir" "$tree" \
		make -s -C "/mnt/$1" KDIR="/usr/src/linux-headers-$release"
}

# vm_in_root ROOT DIRECTORY COMMAND...: with Debian's root and, in its /mnt, a
# directory of ours. The mounts are gone with the command.
vm_in_root() {
	# shellcheck disable=SC2016 # for the other shell
	unshare -m sh -ec 'root=$1 dir=$2
		shift 2
		mount --bind "$root" "$root"
		mount -o remount,bind,ro "$root"
		mount --bind "$dir" "$root/mnt"
		mount --bind /dev "$root/dev"
		mount -t proc proc "$root/proc"
		mount -t tmpfs tmpfs "$root/tmp"
		exec chroot "$root" "$@"' sh "$@"
}

# The modules without which the root cannot be reached are the stock kernel's.
vm_initramfs() {
	local dir=$tree/initramfs file name

	initramfs=$tree/initramfs.cpio
	[ "$initramfs" -nt "$root/tests/vm/initramfs" ] && return
	rm -rf "$dir"
	mkdir -p "$dir/bin" "$dir/modules"
	cp "$kernel_dir/bin/busybox" "$dir/bin/"
	install -m 755 "$root/tests/vm/initramfs" "$dir/init"
	for name in virtio_pci 9pnet_virtio 9p overlay; do
		modprobe -d "$kernel_dir" -S "$release" --show-depends "$name"
	done | awk '$1 == "insmod" && !seen[$2]++ { print $2 }' >"$tree/needed"
	while read -r file; do
		name=${file##*/}
		case $name in
		*.xz) xz -dc "$file" >"$dir/modules/${name%.xz}" ;;
		*) cp "$file" "$dir/modules/" ;;
		esac
		echo "${name%.xz}" >>"$dir/modules/order"
	done <"$tree/needed"
	(cd "$dir" && find . | cpio -o -H newc --quiet) >"$initramfs.part"
	mv "$initramfs.part" "$initramfs"
}

# What the machine sees of this one, at the same place: the project, the provider,
# the directory we are in.
vm_shares() {
	local path

	shares=("share0=$root")
	for path in "$build" "$PWD"; do
		[ "${path#"$root"}" != "$path" ] || shares+=("share${#shares[@]}=$path")
	done
}

vm_start_qemu() {
	local share machine
	local how=local,security_model=none,multidevs=remap

	# With a thread for each processor QEMU 7.2 now and then executes the
	# kernel's breakpoints while it patches its own text: "Oops: int3" at boot.
	machine=(qemu-system-x86_64 -M q35 -accel "tcg,thread=single" -cpu max -smp 2
		-m "$mem" -nodefaults -no-user-config -display none -no-reboot
		-kernel "$kernel_dir/boot/vmlinuz-$release" -initrd "$initramfs"
		-append "console=ttyS0 ignore_loglevel panic=-1 printk.time=1"
		-chardev "file,id=log,path=/dev/fd/3" -serial chardev:log)
	for share in "root=$kernel_dir" "vm=$dir" "${shares[@]}" \
		${results:+"results=$results"}; do
		machine+=(-virtfs "$how,path=${share#*=},mount_tag=${share%%=*}")
	done
	cp "$root/tests/vm/init" "$dir/init"
	if [ "$input" ]; then
		"${machine[@]}" -serial stdio 2>"$dir/host"
	else
		vm_limited "${machine[@]}" -chardev "file,id=out,path=/dev/fd/4" \
			-serial chardev:out -chardev "file,id=err,path=/dev/fd/5" \
			-serial chardev:err 2>"$dir/host"
	fi
}

# Whatever ends us ends the machine.
vm_limited() {
	local status=0 pid

	setpriv --pdeathsig TERM timeout -k 5 "$limit" "$@" </dev/null &
	pid=$!
	trap 'kill -TERM $pid 2>/dev/null' TERM INT HUP
	while wait $pid; status=$?; kill -0 $pid 2>/dev/null; do :; done
	trap - TERM INT HUP
	# The processes of User-Mode Linux's programs are killed by their parent's
	# death, which takes a moment.
	for _ in {1..250}; do
		pgrep -g "$pid" -r D,R,S,T >/dev/null || break
		sleep 0.02
	done
	return $status
}

# The kernel waits for pipes only, hence cat.
vm_machine() {
	local status=0 cats=()

	exec 3> >(exec cat >"$dir/log")
	cats+=($!)
	exec 5> >(exec cat >&2)
	cats+=($!)
	if [ "$input" ]; then
		"vm_start_$kind" || status=$?
		stty sane || true
	else
		exec 4> >(exec cat)
		cats+=($!)
		"vm_start_$kind" >&4 || status=$?
		exec 4>&-
	fi
	exec 3>&- 5>&-
	wait "${cats[@]}"
	return $status
}

# Where allocations fail on request the kernel's complaint of one is none.
vm_log() {
	if [ "$failing" ]; then
		sed -E '/vmalloc error|page allocation failure/,/Mem-Info/d' "$dir/log"
	else
		cat "$dir/log"
	fi
}

# What came of it, from the machine's own status.
vm_verdict() {
	local status bad

	if [ -s "$dir/status" ]; then
		status=$(cat "$dir/status")
	elif [ "$1" = 124 ]; then
		status=124
		note "ended after $limit s"
	else
		status=125
		note "the machine died (status $1): $(tail -n 5 "$dir/host")"
	fi
	bad=$(vm_log | grep -aE "$vm_complaints" || true)
	if [ "$check" ] && [ "$bad" ]; then
		note "the kernel complains: $(head -n 5 <<<"$bad")"
		[ "$status" != 0 ] || status=120
	fi
	if [ "$status" != 0 ] && [ -z "$input" ]; then
		note "the kernel's log:"
		sed -n '/tcpzc-vm: ready/,$p' "$dir/log" >&2
		[ ! -s "$dir/leaks" ] || head -n 200 "$dir/leaks" >&2
	fi
	return "$status"
}

vm_run() {
	local status=0

	dir=$(mktemp -d /tmp/tcpzc-vm.XXXXXX)
	trap 'rm -rf "$dir"' EXIT
	input='' output=tty0 errors=tty2
	[ "$kind" = uml ] || output=ttyS1 errors=ttyS2
	[ $# -gt 0 ] || input=$output errors=$output
	vm_job "$@" >"$dir/job"
	vm_machine || status=$?
	[ -z "$log" ] || cp "$dir/log" "$log"
	vm_verdict $status
}
