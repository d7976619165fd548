"""All that a door may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.chat.blocking import BlockChat
from gateway.chat.conversations import ConversationChat
from gateway.chat.groups import GroupChat
from gateway.chat.history import HistoryChat
from gateway.chat.presence import PresenceChat
from gateway.chat.recalls import RecallChat
from gateway.chat.receipts import ReceiptChat
from gateway.chat.rooms import RoomChat
from gateway.chat.sending import MessageChat
from gateway.chat.signals import SignalChat


@dataclass(frozen=True, slots=True)
class Chat:
    """Each public method of these takes a principal, of those that `Principals` made, and plain
    values. It takes a token of the principal's, looks whether the principal may, and raises
    `Refused` to say no: so there is nothing here that a door could do without being let."""

    messages: MessageChat
    signals: SignalChat
    groups: GroupChat
    rooms: RoomChat
    blocks: BlockChat
    presence: PresenceChat
    conversations: ConversationChat
    history: HistoryChat
    recalls: RecallChat
    receipts: ReceiptChat
