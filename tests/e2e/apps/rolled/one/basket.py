"""What only this revision knows of."""

import dataclasses


@dataclasses.dataclass
class Basket:
    """What a user has chosen."""

    items: list[str]
