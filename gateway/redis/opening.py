"""A process' two ways into its Redis, of whichever kind `redis_url` says."""

from __future__ import annotations

from gateway.redis.cluster import Cluster
from gateway.redis.cluster_link import ClusterLink
from gateway.redis.cluster_subscriber import ClusterSubscriber
from gateway.redis.guard import Guard
from gateway.redis.link import Link
from gateway.redis.node_link import NodeLink
from gateway.redis.promises import Promises
from gateway.redis.servers import server_of
from gateway.redis.subscriber import NodeSubscriber, Subscriber
from gateway.redis.url import RedisUrl
from gateway.tasks import Tasks


def open_link(
    url: RedisUrl,
    guard: Guard,
    tasks: Tasks,
    promises: Promises = Promises(),  # noqa: B008 - it is frozen
) -> Link:
    """The link alone, for a command."""
    if url.kind == "cluster":
        return ClusterLink(Cluster(url, tasks), guard, promises)
    return NodeLink(server_of(url, "homeport-admin"), guard, tasks, promises)


def open_redis(
    text: str,
    guard: Guard,
    tasks: Tasks,
    promises: Promises = Promises(),  # noqa: B008 - it is frozen
) -> tuple[Link, Subscriber]:
    """The link and the subscriber for a `redis_url`. Start the link first, and close it last.

    `tasks` are the process', which needs those that stay connected.
    """
    url = RedisUrl.parse(text)
    if url.kind == "cluster":
        cluster = Cluster(url, tasks)
        return (
            ClusterLink(cluster, guard, promises),
            ClusterSubscriber(cluster),
        )
    return (
        NodeLink(server_of(url, "homeport-link"), guard, tasks, promises),
        NodeSubscriber(server_of(url, "homeport-subscriber"), tasks),
    )
