# Makes the root of a server and becomes its pid 1. Runs in new pid, mount, net, UTS, IPC and cgroup namespaces.
#
#   sh server-root.sh NAME CHECKOUT MINIO MOUNT_POINTS STATE [cgroup]
#
# With `cgroup`, the cgroup that this runs in becomes the root of the server's own hierarchy.
# The machine's programs are seen read-only; everything else is the server's own and gone with it, but for
# /etc/pointsman and the shared disk.
set -eu
name=$1 checkout=$2 minio=$3 points=$4 state=$5
root=/run/sandbox/root/$name
mkdir -p "$root"
mount -t tmpfs -o mode=0755 "$name" "$root"
cd "$root"
mkdir dev etc mnt opt opt/pointsman proc root run sys tmp usr var var/log var/tmp work
chmod 1777 tmp var/tmp

bind_read_only() { mount --bind "$1" "$2"; mount -o remount,bind,ro "$2"; }
bind_read_only /usr usr
for dir in bin sbin lib lib32 lib64 libx32; do
  if [ -L "/$dir" ]; then ln -s "$(readlink "/$dir")" "$dir"
  elif [ -d "/$dir" ]; then mkdir "$dir"; bind_read_only "/$dir" "$dir"
  fi
done
bind_read_only "$checkout" opt/pointsman
touch work/minio; bind_read_only "$minio" work/minio
mount --rbind "$points" mnt

for file in ld.so.cache nsswitch.conf protocols services; do
  if [ -e "/etc/$file" ]; then cp "/etc/$file" "etc/$file"; fi
done
for dir in alternatives ssl; do
  if [ -d "/etc/$dir" ]; then mkdir "etc/$dir"; bind_read_only "/etc/$dir" "etc/$dir"; fi
done
echo "$name" >etc/hostname
printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$name" >etc/hosts
: >etc/resolv.conf
printf 'root:x:0:0:root:/root:/bin/sh\nminio:x:1000:1000:MinIO:/nonexistent:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n' >etc/passwd
printf 'root:x:0:\nminio:x:1000:\nnogroup:x:65534:\n' >etc/group
mkdir etc/pointsman; mount --bind "$state" etc/pointsman

mount -t tmpfs -o mode=0755 dev dev
for node in null zero full random urandom tty; do touch "dev/$node"; mount --bind "/dev/$node" "dev/$node"; done
mkdir dev/shm dev/pts; mount -t tmpfs -o mode=1777 shm dev/shm
ln -s /proc/self/fd dev/fd; ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr
mount -t tmpfs -o mode=0755 run run
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
if [ "${6:-}" = cgroup ]; then mount -t cgroup2 cgroup2 sys/fs/cgroup; fi
# The kernel has one boot_id for all namespaces; a server that boots has a new one.
cat /proc/sys/kernel/random/uuid >run/boot_id; chmod 0444 run/boot_id
mount --bind run/boot_id proc/sys/kernel/random/boot_id

echo "$name" >/proc/sys/kernel/hostname
mkdir old
pivot_root . old
umount -l old
rmdir old
echo up
# bash reaps every orphan that is handed to it, as an init must; dash and Node wait for their own children alone.
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin bash -c 'exec </dev/null >/dev/null 2>&1; while :; do sleep infinity & wait $!; done' "pointsman-$name"
