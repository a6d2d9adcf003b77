"""Numbers of things in sentences."""


def counted(number: int, what: str) -> str:
    """ "1 image", "3,589 images": `what` is one of them."""
    if number == 1:
        return f"1 {what}"
    return f"{number:,} {what}{'es' if what.endswith(('ch', 's')) else 's'}"
