#!/usr/bin/env bash
# A real SLURM on this machine, for the tests: a controller and three nodes, no database.
#
#   slurm_cluster.sh install        the Debian packages (root, a package mirror)
#   slurm_cluster.sh start          start it; needs root and a free /etc/slurm/slurm.conf
#   slurm_cluster.sh ready          exit 0 if the controller answers and all nodes can take jobs
#   slurm_cluster.sh node n2        start one node's daemon (again)
#   slurm_cluster.sh controller     start the controller (again)
#   slurm_cluster.sh stop           cancel all jobs, stop everything, leave nothing behind
#
# Every node has two GPUs that are none (character devices like /dev/null), so that GPU jobs are
# scheduled as on a real cluster; memory and cores are made up too, so that the limits of the
# profile fit. A job's memory limit is real where control groups allow it.
set -euo pipefail

home=${SLURM_TEST_CLUSTER:-/tmp/slurm-test-cluster}
nodes=(n1 n2 n3)
port=17817
# The daemons and the job steps find their configuration here and nowhere else: Snakemake's
# executor takes SLURM_CONF out of the environment of a job's steps.
etc=/etc/slurm

install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq install --yes --no-install-recommends slurmctld slurmd slurm-client munge
}

can_limit_memory() {
    local controller probe
    for controller in memory freezer; do
        probe=/sys/fs/cgroup/$controller/slurm_probe
        mkdir "$probe" 2>/dev/null && rmdir "$probe" || return 1
    done
}

configure() {
    local name tracking
    mkdir -p "$home"/{etc,state,log,run,munge,devices} "${nodes[@]/#/$home/spool/}" "$etc"
    chmod 755 "$home" "$home/munge"
    for number in 0 1; do
        [[ -c $home/devices/gpu$number ]] || mknod "$home/devices/gpu$number" c 1 3
    done
    if can_limit_memory; then
        tracking=$'ProctrackType=proctrack/cgroup\nTaskPlugin=task/cgroup'
        cat > "$home/etc/cgroup.conf" <<EOF
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
ConstrainRAMSpace=yes
EOF
    else
        tracking=$'ProctrackType=proctrack/linuxproc\nTaskPlugin=task/none\nJobAcctGatherParams=OverMemoryKill'
    fi
    printf 'AutoDetect=off\nNodeName=n[1-3] Name=gpu Type=none File=%s/devices/gpu[0-1]\n' "$home" \
        > "$home/etc/gres.conf"
    # cred_expire is also how long a job that SLURM requeues has to wait: 120 s by default.
    # The queue has to show jobs for a while after their end: their state is read from it.
    cat > "$home/etc/slurm.conf" <<EOF
ClusterName=test
SlurmctldHost=$(hostname -s)(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$home/munge/socket,cred_expire=5
CredType=cred/munge
SlurmctldPort=$port
StateSaveLocation=$home/state
SlurmdSpoolDir=$home/spool/%n
SlurmctldPidFile=$home/run/slurmctld.pid
SlurmdPidFile=$home/run/%n.pid
SlurmctldLogFile=$home/log/slurmctld.log
SlurmdLogFile=$home/log/%n.log
$tracking
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
MpiDefault=none
SwitchType=switch/none
SlurmdParameters=config_overrides
ReturnToService=2
MinJobAge=3600
KillWait=20
SlurmdTimeout=10
SlurmctldTimeout=60
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
AccountingStorageType=accounting_storage/none
NodeName=n[1-3] NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=[$((port + 11))-$((port + 13))] CPUs=16 CoresPerSocket=16 RealMemory=999000 Gres=gpu:none:2 State=UNKNOWN
PartitionName=main Nodes=n[1-3] Default=YES DefaultTime=30 DefMemPerCPU=250 PriorityTier=1 GraceTime=20 State=UP
PartitionName=urgent Nodes=n[1-3] DefaultTime=30 DefMemPerCPU=250 PriorityTier=9 PreemptMode=OFF State=UP
EOF
    for name in slurm gres cgroup; do
        [[ ! -f $home/etc/$name.conf ]] || ln -sfn "$home/etc/$name.conf" "$etc/$name.conf"
    done
}

ready() {
    timeout 5 scontrol ping | grep -q 'is UP'
    [[ $(timeout 5 sinfo --noheader --Node --partition=main --states=idle,alloc,mix | wc -l) == "${#nodes[@]}" ]]
}

start() {
    if [[ -e $etc/slurm.conf && $(readlink "$etc/slurm.conf") != "$home/etc/slurm.conf" ]]; then
        echo "$etc/slurm.conf exists: this machine belongs to a cluster, which is left alone" >&2
        return 1
    fi
    configure
    # Processes of one job meet at the name of its first node.
    grep -q "^127.0.0.1 ${nodes[*]}$" /etc/hosts || echo "127.0.0.1 ${nodes[*]}" >> /etc/hosts
    [[ -s $home/munge/key ]] || (umask 077 && head -c 128 /dev/urandom > "$home/munge/key")
    # There is no accounting; as long as its client can be run, the executor asks it.
    chmod a-x /usr/bin/sacct
    munged --force --key-file="$home/munge/key" --socket="$home/munge/socket" \
        --pid-file="$home/munge/pid" --log-file="$home/log/munged.log" --seed-file="$home/munge/seed"
    slurmctld
    for name in "${nodes[@]}"; do slurmd -N "$name"; done
    for _ in $(seq 150); do
        if ready 2> /dev/null; then return 0; fi
        sleep 0.2
    done
    echo "the cluster did not come up:" >&2
    tail -n 20 "$home"/log/*.log >&2
    return 1
}

# A process that has ended counts as gone even if nobody has waited for it.
runs() { grep -qs '^State:[[:space:]]*[^ZX]' "/proc/$1/status"; }

end() { # end PIDFILE...: TERM, and KILL after ten seconds
    local file pid
    for file in "$@"; do
        [[ -s $file ]] || continue
        pid=$(cat "$file")
        kill "$pid" 2> /dev/null || true
        for _ in $(seq 100); do runs "$pid" || break; sleep 0.1; done
        ! runs "$pid" || kill -KILL "$pid"
    done
}

stop() {
    local name controller
    # Never the jobs of another cluster.
    [[ $(readlink "$etc/slurm.conf") == "$home/etc/slurm.conf" ]] || return 0
    if timeout 5 scontrol ping 2> /dev/null | grep -q 'is UP'; then
        timeout 20 scancel --user="$(id -un)" || true
        timeout 20 scancel --signal=KILL --user="$(id -un)" || true
        for _ in $(seq 100); do [[ -n $(timeout 5 squeue --noheader) ]] || break; sleep 0.2; done
    fi
    end "$home"/run/n?.pid "$home/run/slurmctld.pid" "$home/munge/pid"
    for controller in memory freezer cpuset devices; do
        for name in "${nodes[@]}"; do
            find "/sys/fs/cgroup/$controller/slurm_$name" -depth -type d -exec rmdir {} + 2> /dev/null || true
        done
    done
    for name in slurm gres cgroup; do
        [[ $(readlink "$etc/$name.conf") != "$home/etc/$name.conf" ]] || rm "$etc/$name.conf"
    done
    chmod a+x /usr/bin/sacct
    sed -i "/^127.0.0.1 ${nodes[*]}$/d" /etc/hosts 2> /dev/null || true
    rm -rf "$home"
}

case ${1:-} in
    install) install_packages ;;
    start | ready | stop) "$1" ;;
    node) slurmd -N "$2" ;;
    controller) slurmctld ;;
    *) sed -n '2,14s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac
