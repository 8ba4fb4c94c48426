"""How an attempt at a download ends when it does not succeed."""


class AddressFailedError(Exception):
    """This address will not deliver the file; another one may."""


class UnreachableError(AddressFailedError):
    """Nobody answers at this address; one that has answered before may do so again."""


class InterruptedTransferError(Exception):
    """An attempt ended early; the next one may get further.

    Attributes:
        wait: seconds that the server asks to wait.
        fruitless: whether the attempt counts as one that brought nothing, whatever it brought.
    """

    def __init__(self, reason: str, wait: float = 0.0, fruitless: bool = False) -> None:
        super().__init__(reason)
        self.wait, self.fruitless = wait, fruitless
