"""All that a door may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chat.blocking import BlockChat
from gateway.chat.groups import GroupChat
from gateway.chat.history import HistoryChat
from gateway.chat.presence import PresenceChat
from gateway.chat.principal import Principals
from gateway.chat.recalls import RecallChat
from gateway.chat.receipts import ReceiptChat
from gateway.chat.rooms import RoomChat
from gateway.chat.sending import MessageChat
from gateway.chat.signals import SignalChat


@dataclass(frozen=True, slots=True)
class Chat:
    """The methods of these take a principal, which `principals` make, and plain values."""

    principals: Principals
    messages: MessageChat
    signals: SignalChat
    groups: GroupChat
    rooms: RoomChat
    blocks: BlockChat
    presence: PresenceChat
    history: HistoryChat
    recalls: RecallChat
    receipts: ReceiptChat
