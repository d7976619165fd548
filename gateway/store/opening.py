"""A process' two ways into its Redis, of whichever kind `redis_url` says."""

from __future__ import annotations

from collections.abc import Callable

from gateway.redis_url import RedisUrl
from gateway.store.cluster import Cluster
from gateway.store.cluster_link import ClusterLink
from gateway.store.cluster_subscriber import ClusterSubscriber
from gateway.store.link import Link
from gateway.store.node_link import NodeLink
from gateway.store.promises import Promises
from gateway.store.servers import server_of
from gateway.store.stamp import Stamp
from gateway.store.subscriber import NodeSubscriber, Subscriber
from gateway.tasks import Tasks


def open_redis(
    text: str,
    stamp: Stamp,
    on_message: Callable[[bytes, bytes], None],
    tasks: Tasks,
    promises: Promises = Promises(),  # noqa: B008 - it is frozen
) -> tuple[Link, Subscriber]:
    """The link and the subscriber for a `redis_url`. Start the link first, and close it last.

    `on_message` is called with each (channel, payload). `tasks` are the process', which needs those
    that stay connected.
    """
    url = RedisUrl.parse(text)
    if url.kind == "cluster":
        cluster = Cluster(url, tasks)
        return (
            ClusterLink(cluster, stamp, promises),
            ClusterSubscriber(cluster, on_message),
        )
    return (
        NodeLink(server_of(url, "homeport-link"), stamp, tasks, promises),
        NodeSubscriber(server_of(url, "homeport-subscriber"), on_message, tasks),
    )
