"""Texts on anything, to see whether a summary is nearer to its own text than to any text at all."""

from __future__ import annotations

from backend.core.language import AnswerLanguage

UNRELATED: dict[AnswerLanguage, tuple[str, ...]] = {
    "ru": (
        "Завтра ожидается облачная погода с прояснениями, местами дождь, ветер слабый до пяти "
        "метров в секунду.",
        "Нарежьте лук и морковь, обжарьте на сковороде, добавьте мясо и тушите на медленном огне "
        "сорок минут.",
        "Команда выиграла матч со счётом два один и вышла в финал чемпионата, решающий гол забили "
        "в конце встречи.",
        "Жил-был старик со своею старухой у самого синего моря, и пошёл он однажды к морю закинуть "
        "невод.",
        "Компания отчиталась о росте выручки за квартал; сотрудники обсуждали задачи, сроки и "
        "бюджет проекта.",
        "Программа подключается к серверу по сети, читает настройки из файла и записывает ошибки "
        "в журнал.",
        "Учёные изучили клетки растений и описали, как меняется их рост при недостатке света и "
        "воды.",
    ),
    "en": (
        "Tomorrow will be cloudy with sunny spells, rain in places and a light breeze from the "
        "west.",
        "Chop the onions and carrots, fry them in a pan, add the meat and simmer gently for forty "
        "minutes.",
        "The team won the match two to one and reached the final of the championship with a late "
        "goal.",
        "Once upon a time an old man and his wife lived by the sea, and one day he went out to "
        "cast his net.",
        "The company reported higher revenue for the quarter; employees discussed tasks, "
        "deadlines and the budget of the project.",
        "The program connects to a server over the network, reads its settings from a file and "
        "writes errors to a log.",
        "Scientists studied plant cells and described how their growth changes when light and "
        "water are scarce.",
    ),
}
