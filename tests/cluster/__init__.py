"""A real two-node Kubernetes on one machine, for tests and demos: no docker, no registry, no route out.

    components/, builds      etcd, Kubernetes, CoreDNS, training-operator, versitygw from the Go module proxy
    pki, network             certificates; a network namespace per node, joined by a bridge in a third
    controlplane, nodes      the programs of the control plane; containerd, kubelet and kube-proxy of each node
    addons, manifests/       what runs in it from the start: DNS, S3, training-operator
    base, images, oci        the project's images: base, recipes, buildah
    containerd, store        how images get to the nodes without a registry and without copies of 5 GB
    lifecycle, status        up, down; the smoke check
    kind                     the same targets where docker and kind exist
    handle, kubectl, deploy  .cluster/run; the operator's installation
    environments             Python environments of this machine, by uv

Everything that can be made again lies in the cache, under a name that follows from what it is made of (`files.digest`).
What the running cluster writes lies in one folder, and its programs carry a mark in their environment (`processes`): so
`down` finds all of it after any crash, and nothing else.
"""
