"""The same memory behind LangChain's chat model interface; no history is sent again.

    python examples/02_langchain_chat_model.py

Expected output:

    Noted.
    Lisbon.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate

from sleepmem import SleepChatModel, SleepMemory


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with SleepMemory(f"sqlite:///{Path(folder) / 'agents.db'}") as memory:
            model = SleepChatModel(memory=memory, agent_id="ana")
            chain = (
                ChatPromptTemplate.from_messages([("user", "{text}")]) | model | StrOutputParser()
            )
            print(await chain.ainvoke({"text": "Maria lives in Lisbon."}))
            await (await memory.agent("ana")).sleep()
            print(await chain.ainvoke({"text": "Where does Maria live?"}))


if __name__ == "__main__":
    asyncio.run(main())
