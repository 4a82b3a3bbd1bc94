"""SleepChatModel, the LangChain chat model: an agent with a memory behind LangChain's face."""

from sleepmem.chat.model import SleepChatModel

__all__ = ["SleepChatModel"]
