"""etcd, the API server, the controller manager and the scheduler, in the network namespace of the first node."""

from pathlib import Path

from tests.cluster import pki, processes
from tests.cluster.console import wait_until
from tests.cluster.files import write_json
from tests.cluster.kubectl import Kubectl
from tests.cluster.settings import API_PORT, STATE, Cluster

_ETCD = "http://127.0.0.1:2379"
_NAMES = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def start(cluster: Cluster, programs: Path) -> None:
    """Starts etcd and the API server without waiting for them."""
    namespace = cluster.control_plane.namespace
    peer = "http://127.0.0.1:2380"
    etcd = {
        "data-dir": STATE / "etcd",
        "listen-client-urls": _ETCD,
        "advertise-client-urls": _ETCD,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "log-level": "warn",
        "unsafe-no-fsync": "true",  # the data live as long as the cluster
    }
    processes.start("etcd", programs / "etcd", *_flags(etcd), namespace=namespace)
    processes.start("kube-apiserver", programs / "kube-apiserver", *_flags(_apiserver(cluster)), namespace=namespace)


def finish(cluster: Cluster, programs: Path, kubectl: Kubectl) -> None:
    """Waits for the API server, then starts the controllers and the scheduler."""
    ready = processes.require("kube-apiserver", lambda: kubectl.answers("get", "--raw=/readyz"))
    wait_until("the API server", ready, 90)
    namespace = cluster.control_plane.namespace
    controllers = {
        **_client("controller-manager"),
        "use-service-account-credentials": "true",
        "service-account-private-key-file": pki.FOLDER / "service-accounts.key",
        "root-ca-file": pki.FOLDER / "ca.crt",
        "client-ca-file": pki.FOLDER / "ca.crt",
        "cluster-signing-cert-file": pki.FOLDER / "ca.crt",
        "cluster-signing-key-file": pki.FOLDER / "ca.key",
    }
    for name, flags in (("kube-controller-manager", controllers), ("kube-scheduler", _client("scheduler"))):
        processes.start(name, programs / name, *_flags(flags), namespace=namespace)
    account = ("get", "serviceaccount", "default", "--namespace=default")
    wait_until("the controllers", processes.require("kube-controller-manager", lambda: kubectl.answers(*account)), 60)


def stop() -> None:
    """Ends the control plane, storage last."""
    processes.stop(*reversed(_NAMES[2:]))
    processes.stop("kube-apiserver")
    processes.stop("etcd")


def _apiserver(cluster: Cluster) -> dict[str, object]:
    certificates = pki.FOLDER
    return {
        "etcd-servers": _ETCD,
        "bind-address": "0.0.0.0",
        "secure-port": API_PORT,
        "advertise-address": cluster.control_plane.address,
        "service-cluster-ip-range": cluster.service_cidr,
        "tls-cert-file": certificates / "apiserver.crt",
        "tls-private-key-file": certificates / "apiserver.key",
        "client-ca-file": certificates / "ca.crt",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": certificates / "service-accounts.pub",
        "service-account-signing-key-file": certificates / "service-accounts.key",
        "kubelet-client-certificate": certificates / "kubelet-client.crt",
        "kubelet-client-key": certificates / "kubelet-client.key",
        "kubelet-certificate-authority": certificates / "ca.crt",
        "kubelet-preferred-address-types": "InternalIP",
        "requestheader-client-ca-file": certificates / "front-proxy-ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": certificates / "front-proxy.crt",
        "proxy-client-key-file": certificates / "front-proxy.key",
        "allow-privileged": "true",  # so that it is PodSecurity that refuses, as on a real cluster
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction,PodSecurity",
        "admission-control-config-file": _admission(),
        "anonymous-auth": "false",
        "shutdown-delay-duration": "0s",
    }


def _admission() -> Path:
    path = STATE / "admission.json"
    pod_security = {
        "apiVersion": "pod-security.admission.config.k8s.io/v1",
        "kind": "PodSecurityConfiguration",
        "defaults": {"enforce": "baseline", "enforce-version": "latest"},
        "exemptions": {"namespaces": ["kube-system"]},
    }
    plugins = [{"name": "PodSecurity", "configuration": pod_security}]
    kind = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AdmissionConfiguration"}
    write_json(path, {**kind, "plugins": plugins})
    return path


def _client(user: str) -> dict[str, object]:
    kubeconfig = pki.KUBECONFIGS / user
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "bind-address": "127.0.0.1",
        "cert-dir": STATE / "certificates" / user,
        "leader-elect": "false",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
    }


def _flags(values: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in values.items()]
