"""What is behind the door of a process: chat, and all that it works on."""

from __future__ import annotations

import secrets
import socket

from gateway.chat.app_events import AppEvents
from gateway.chat.framing import Framing
from gateway.chat.limits import Limits
from gateway.chat.principal import Principals
from gateway.chat.shares import Shares
from gateway.hub.hub import Hub
from gateway.hub.hubs import Hubs
from gateway.hub.presence import PresenceHub
from gateway.hub.rooms import RoomHub
from gateway.runtime.chat import Stores, chat_of
from gateway.runtime.core import Core
from gateway.session.timing import Timing
from gateway.store.directory import AppDirectory
from gateway.store.headcount import Headcount
from gateway.store.lateness import Lateness
from gateway.store.presence import GATEWAY_CHARS, PresenceStore
from gateway.tasks import Tasks


class Backend:
    """One for each process that clients reach; `name` is the process' among those of its gateway.

    Only what puts a process together takes one: every other class gets the parts that it uses.

    Attributes:
        gateway: the id of this process, which ends the ids of its sessions.
        where: the same for people: the machine, and `name`.
        link, subscriber: the ways to Redis. Nothing is connected yet.
        directory: the apps.
        framing: what makes records into payloads.
        stores, presence: what Redis keeps.
        headcount: the connections of each app.
        hubs: who is to hear what Redis tells.
        limits: how much each user and app may still do.
        principals: what makes the authors of requests.
        chat: all that a door may ask for.
    """

    def __init__(self, core: Core, timing: Timing, tasks: Tasks, name: str) -> None:
        clock = timing.clock
        self.core = core
        self.gateway = secrets.token_hex(GATEWAY_CHARS // 2)
        self.where = f"{socket.gethostname()} {name}".rstrip()
        self.link, self.subscriber = link, subscriber = core.open_redis(tasks)
        self.directory = AppDirectory(
            link,
            core.keys,
            core.sealer,
            tasks,
            on_gone=lambda app_id: self.hubs.users.app_deleted(app_id),
            on_change=lambda app: self.hubs.users.app_changed(app),
        )
        lateness = Lateness(link, core.keys, self.gateway, clock.wall_ms)
        self.framing = framing = Framing(core.sealer, self.directory, lateness, clock.wall_ms)
        self.stores = stores = Stores.of(link, core.keys, clock)
        self.headcount = Headcount()
        self.presence = PresenceStore(link, core.keys, self.gateway, self.headcount, self.where)
        users = Hub(subscriber, stores.inboxes, framing.pushed, tasks)
        rooms = RoomHub(subscriber, stores.rooms, users.find, framing.in_room, clock.wall_ms)
        presence = PresenceHub(
            subscriber, self.presence, users.find, framing.status, clock, timing.wheel
        )
        self.hubs = Hubs(users, rooms, presence)
        self.limits = Limits(stores.rates, clock, Shares(), stores.storage)
        self.principals = Principals(self.limits, stores.blocks, self.directory)
        self.chat = chat_of(
            stores, self.presence, framing, self.hubs, clock, AppEvents(core.sealer)
        )
