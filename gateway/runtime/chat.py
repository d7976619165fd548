"""Chat over the stores of a region: every store once, and all that a door may ask for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from gateway.chat.addressing import Conversations
from gateway.chat.app_events import AppEvents
from gateway.chat.blocking import BlockChat
from gateway.chat.chat import Chat
from gateway.chat.conversations import ConversationChat
from gateway.chat.framing import Framing
from gateway.chat.group_sends import GroupSends
from gateway.chat.groups import GroupChat
from gateway.chat.history import HistoryChat
from gateway.chat.invitations import Invitations
from gateway.chat.owning import Owning
from gateway.chat.presence import PresenceChat
from gateway.chat.recalls import RecallChat
from gateway.chat.receipts import ReceiptChat
from gateway.chat.relay import Relay
from gateway.chat.room_sends import RoomSends
from gateway.chat.rooms import RoomChat
from gateway.chat.sending import MessageChat
from gateway.chat.signals import SignalChat
from gateway.clock import Clock
from gateway.hub.hubs import Hubs
from gateway.redis.link import Link
from gateway.store.blocks import BlockStore
from gateway.store.conversations import ConversationStore
from gateway.store.groups import GroupStore
from gateway.store.inbox import InboxStore
from gateway.store.keys import Keys
from gateway.store.owned import OwnedStore
from gateway.store.presence import PresenceStore
from gateway.store.rates import RateStore
from gateway.store.rooms import RoomStore
from gateway.store.rows import RowStore
from gateway.store.storage import Storage


@dataclass(frozen=True, slots=True)
class Stores:
    """The stores of a region that chat works on, each of them once."""

    inboxes: InboxStore
    conversations: ConversationStore
    rows: RowStore
    blocks: BlockStore
    rooms: RoomStore
    groups: GroupStore
    owned: OwnedStore
    rates: RateStore
    storage: Storage

    @classmethod
    def of(cls, link: Link, keys: Keys, clock: Clock) -> Self:
        """Those behind `link`."""
        storage = Storage(link, keys, clock.wall_ms)
        conversations = ConversationStore(link, keys, storage)
        return cls(
            inboxes=InboxStore(link, keys, conversations),
            conversations=conversations,
            rows=RowStore(link, keys),
            blocks=BlockStore(link, keys, storage),
            rooms=RoomStore(link, keys, storage),
            groups=GroupStore(link, keys, conversations, clock.wall_ms),
            owned=OwnedStore(link, keys),
            rates=RateStore(link, keys),
            storage=storage,
        )


def chat_of(
    stores: Stores,
    presence: PresenceStore,
    framing: Framing,
    hubs: Hubs,
    clock: Clock,
    events: AppEvents,
) -> Chat:
    """All that a door may ask for. `hubs` hear what is said in its rooms and of its users,
    and `events` are what webhooks are told."""
    now_ms, records = clock.wall_ms, framing.records
    relay = Relay(stores.inboxes, stores.rooms, stores.groups, records, now_ms)
    conversations = Conversations(stores.groups, stores.conversations)
    to_groups = GroupSends(stores.groups, stores.conversations, records, events)
    owning = Owning(stores.owned, now_ms)
    to_rooms = RoomSends(stores.rooms, framing.room_records, hubs.rooms, events)
    return Chat(
        messages=MessageChat(
            stores.conversations, records, relay, to_groups, to_rooms, events, clock_ms=now_ms
        ),
        signals=SignalChat(relay, stores.groups),
        groups=GroupChat(
            stores.groups,
            records,
            Invitations(stores.conversations, records, events, now_ms),
            owning,
            events,
            now_ms,
        ),
        rooms=RoomChat(stores.rooms, owning, hubs.rooms, events, now_ms),
        blocks=BlockChat(stores.blocks, now_ms),
        presence=PresenceChat(presence, framing.statuses, hubs.presence, now_ms),
        conversations=ConversationChat(
            stores.conversations, stores.rows, records, framing.lateness, now_ms
        ),
        history=HistoryChat(
            stores.conversations,
            stores.rows,
            conversations,
            records,
            framing.lateness,
            now_ms,
        ),
        recalls=RecallChat(
            stores.conversations, conversations, records, framing.lateness, events, clock
        ),
        receipts=ReceiptChat(stores.conversations, stores.rows, relay, conversations, now_ms),
    )
