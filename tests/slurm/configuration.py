"""What the daemons of the test Slurm are told, with blanks for `cluster` to fill in."""

SLURM_CONF = """\
ClusterName=hcs
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
SlurmctldPidFile={home}/slurmctld.pid
SlurmdPidFile={home}/%n.pid
StateSaveLocation={home}/state
SlurmdSpoolDir={home}/spool-%n
SlurmctldLogFile={home}/log/slurmctld.log
SlurmdLogFile={home}/log/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,bf_interval=5
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
GresTypes=gpu
# Without cgroups this is how Slurm ends a job that takes more memory than it asked for.
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd}
AccountingStoragePass={home}/munge/socket
AccountingStorageTRES=gres/gpu
AccountingStoreFlags=job_comment
# A job over its time is ended at once, not up to a minute later; one whose node is lost fails.
OverTimeLimit=0
KillWait=5
JobRequeue=0
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE DefaultTime=60 DefMemPerCPU=500 State=UP
PartitionName=gpu Nodes={gpu_node} MaxTime=INFINITE DefaultTime=60 DefMemPerCPU=500 State=UP
"""
# Snakemake's Slurm plugin takes all SLURM_ variables from the jobs that it starts inside an allocation.
SRUN = """\
#!/bin/sh
SLURM_CONF={home}/slurm.conf exec {srun} "$@"
"""
NODE = (
    "NodeName={name} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} Boards=1 SocketsPerBoard=1 "
    "CoresPerSocket={cpus} ThreadsPerCore=1 RealMemory={memory}{gres} State=UNKNOWN"
)
SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={home}/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort={dbd}
SlurmUser=root
LogFile={home}/log/slurmdbd.log
PidFile={home}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={mariadb}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
"""
DATABASE = """\
create database if not exists slurm_acct_db;
create user if not exists slurm@'127.0.0.1' identified by 'slurm';
grant all on slurm_acct_db.* to slurm@'127.0.0.1';
"""
