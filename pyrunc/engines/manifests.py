"""What Kubernetes needs: the RuntimeClass, and a DaemonSet that installs pyrunc on each node.

The DaemonSet's image is made of the self-contained tar of `make dist` by packaging/Containerfile: it has pyrunc in
/opt/pyrunc and a shell.
"""

from __future__ import annotations

from .lines import NAME

RUNTIME_CLASS = f"""\
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata:
  name: {NAME}
handler: {NAME}
"""

# Each version has its own directory, and containerd's configuration names a symlink. So running containers go on with
# the version that made them, and the program is never missing.
_INSTALL = r"""
set -eu
version=$(/opt/pyrunc/bin/pyrunc --version | sed -n '1s/.* //p')
place=/host/opt/pyrunc-$version
if [ ! -e "$place" ]; then
    rm -rf "$place.new"
    cp -a /opt/pyrunc "$place.new"
    mv "$place.new" "$place"
fi
ln -sfn "pyrunc-$version" /host/opt/pyrunc.new
mv -T /host/opt/pyrunc.new /host/opt/pyrunc
before=$(cksum /host/etc/containerd/config.toml 2>&1 || true)
chroot /host /opt/pyrunc/bin/pyrunc integrate containerd --write --path /opt/pyrunc/bin/pyrunc
after=$(cksum /host/etc/containerd/config.toml)
if [ "$before" != "$after" ]; then
    nsenter --target 1 --mount -- systemctl restart containerd
fi
"""

_DAEMON_SET = """\
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: {name}-install
  namespace: kube-system
  labels: {{app.kubernetes.io/name: {name}}}
spec:
  selector:
    matchLabels: {{app.kubernetes.io/name: {name}}}
  template:
    metadata:
      labels: {{app.kubernetes.io/name: {name}}}
    spec:
      hostPID: true
      automountServiceAccountToken: false
      nodeSelector: {{kubernetes.io/os: linux}}
      tolerations: [{{operator: Exists}}]
      initContainers:
        - name: install
          image: {image}
          securityContext: {{privileged: true}}
          volumeMounts: [{{name: host, mountPath: /host}}]
          command: [/bin/sh, -c]
          args:
            - |
{script}
      containers:
        - name: stay
          image: {image}
          command: [/bin/sleep, infinity]
          resources: {{requests: {{cpu: 1m, memory: 8Mi}}}}
      volumes:
        - name: host
          hostPath: {{path: /}}
"""


def manifests(image: str) -> str:
    """Both as YAML, for `kubectl apply -f -`. image: the DaemonSet's."""
    script = "\n".join([" " * 14 + line if line else "" for line in _INSTALL.strip().splitlines()])
    return RUNTIME_CLASS + "---\n" + _DAEMON_SET.format(name=NAME, image=image, script=script)
