"""Certificates and kubeconfigs of one run of the cluster; each identity has no more rights than upstream gives it."""

import base64
from pathlib import Path

from tests.cluster.commands import run
from tests.cluster.files import make_once, write_json
from tests.cluster.settings import STATE, Cluster

FOLDER = STATE / "pki"
KUBECONFIGS = STATE / "kubeconfigs"
_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
_VALID = ("-days", "30")
_CLIENT = "extendedKeyUsage=clientAuth"


def create(cluster: Cluster) -> None:
    """Makes every certificate, key and kubeconfig, once per run of the cluster."""
    make_once(FOLDER, lambda folder: _sign_all(folder, cluster))
    users = ["admin", "controller-manager", "scheduler", "kube-proxy", *(node.name for node in cluster.nodes)]
    for user in users:
        write_json(KUBECONFIGS / user, _kubeconfig(cluster, user), mode=0o600)


def _sign_all(folder: Path, cluster: Cluster) -> None:
    for authority in ("ca", "front-proxy-ca"):
        key, certificate = folder / f"{authority}.key", folder / f"{authority}.crt"
        run("openssl", "req", "-x509", *_KEY, *_VALID, "-subj", f"/CN={authority}", "-keyout", key, "-out", certificate)
    run("openssl", "genrsa", "-out", folder / "service-accounts.key", "2048")
    run("openssl", "rsa", "-in", folder / "service-accounts.key", "-pubout", "-out", folder / "service-accounts.pub")

    names = ["localhost", *(f"kubernetes{suffix}" for suffix in ("", ".default", ".default.svc"))]
    names.append("kubernetes.default.svc.cluster.local")
    addresses = ["127.0.0.1", cluster.control_plane.address, cluster.api_service]
    _sign(folder, "apiserver", "/CN=kube-apiserver", _server(names, addresses))
    _sign(folder, "kubelet-client", "/O=system:masters/CN=kube-apiserver-kubelet-client", _CLIENT)
    _sign(folder, "front-proxy", "/CN=front-proxy-client", _CLIENT, authority="front-proxy-ca")
    _sign(folder, "admin", "/O=system:masters/CN=admin", _CLIENT)
    _sign(folder, "controller-manager", "/CN=system:kube-controller-manager", _CLIENT)
    _sign(folder, "scheduler", "/CN=system:kube-scheduler", _CLIENT)
    _sign(folder, "kube-proxy", "/CN=system:kube-proxy", _CLIENT)
    for node in cluster.nodes:
        _sign(folder, node.name, f"/O=system:nodes/CN=system:node:{node.name}", _CLIENT)
        _sign(folder, f"{node.name}-serving", f"/CN={node.name}", _server([node.name], [node.address]))


def _server(names: list[str], addresses: list[str]) -> str:
    alternatives = [f"DNS:{name}" for name in names] + [f"IP:{address}" for address in addresses]
    return f"extendedKeyUsage=serverAuth\nsubjectAltName={','.join(alternatives)}"


def _sign(folder: Path, name: str, subject: str, extensions: str, authority: str = "ca") -> None:
    request = run("openssl", "req", *_KEY, "-subj", subject, "-keyout", folder / f"{name}.key")
    settings = folder / f"{name}.ext"
    settings.write_text(extensions)
    issuer = ("-CA", folder / f"{authority}.crt", "-CAkey", folder / f"{authority}.key", "-CAcreateserial")
    output = ("-extfile", settings, "-out", folder / f"{name}.crt")
    run("openssl", "x509", "-req", *issuer, *_VALID, *output, stdin=request)
    settings.unlink()


def _kubeconfig(cluster: Cluster, user: str) -> dict[str, object]:
    def encoded(name: str) -> str:
        return base64.b64encode((FOLDER / name).read_bytes()).decode()

    authority = {"server": cluster.server, "certificate-authority-data": encoded("ca.crt")}
    credentials = {"client-certificate-data": encoded(f"{user}.crt"), "client-key-data": encoded(f"{user}.key")}
    context = {"cluster": "customizer", "user": user, "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "customizer",
        "clusters": [{"name": "customizer", "cluster": authority}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": "customizer", "context": context}],
    }
