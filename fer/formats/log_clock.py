"""The time of a log's lines: seconds from the first on."""

from datetime import date


class Clock:
    """Seconds since the first line, never falling.

    Short dates have no year: a fall of more than half a year is a New Year, and the year is a leap year once a
    29 February was met in it.
    """

    def __init__(self) -> None:
        self._first: int | None = None
        self._latest = 0
        self._day, self._days_before, self._leap = 0, 0, False

    def seconds(self, day: str, time: str) -> float | None:
        """None where the date or time does not exist."""
        try:
            days = self._short(int(day[:2]), int(day[2:])) if len(day) == 4 else self._long(day)
            hours, minutes, rest = int(time[:2]), int(time[3:5]), round(float(time[6:]) * 1e6)
        except ValueError:
            return None
        now = ((days * 24 + hours) * 60 + minutes) * 60_000_000 + rest  # microseconds, whole: nothing is rounded
        self._first = now if self._first is None else self._first
        self._latest = max(self._latest, now - self._first)
        return self._latest / 1e6

    def _long(self, day: str) -> int:
        return date(int(day[:4]), int(day[4:6]), int(day[6:])).toordinal()

    def _short(self, month: int, day: int) -> int:
        leap_day = (month, day) == (2, 29)
        number = date(2000 if self._leap or leap_day else 2001, month, day).timetuple().tm_yday
        if number < self._day - 182:
            self._days_before += 366 if self._leap else 365
            self._leap = False
        self._leap |= leap_day
        self._day = number
        return self._days_before + number
