"""A model call on its way through a cluster: what is left of it, and when it got where."""

from simulator.serving.workload import NO_PREFIX

NEVER = -1


class Call:
    """One call. Moments are nanoseconds, ``NEVER`` before they come.

    Attributes:
        index, job, stage: whose it is.
        prompt, output: tokens to read and to write.
        prefix, prefix_tokens: what it shares where it is read; none in a cluster without a prefix cache.
        written: tokens chosen so far.
        unread: tokens of its own that are yet to be read, since it was last admitted.
        own: places of its own in the memory of the instance it is on, without what it wrote since it joined a batch.
        joined_at: the instance's count of decoding steps when it joined the batch.
        released: its stage began.
        admitted: an instance took it, the first time.
        first: its first token was chosen.
        handed: its keys and values were where it is decoded.
        finished: its last token was chosen.
        lost: tokens of its own that it had in memory when it was last put back; to be read again.
        preemptions: how often it was put back.
    """

    __slots__ = (
        "admitted",
        "finished",
        "first",
        "handed",
        "index",
        "job",
        "joined_at",
        "lost",
        "output",
        "own",
        "preemptions",
        "prefix",
        "prefix_tokens",
        "prompt",
        "released",
        "stage",
        "unread",
        "written",
    )

    def __init__(
        self, index: int, job: int, stage: int, prompt: int, output: int, prefix: int, prefix_tokens: int
    ) -> None:
        self.index = index
        self.job = job
        self.stage = stage
        self.prompt = prompt
        self.output = output
        self.prefix = prefix
        self.prefix_tokens = prefix_tokens if prefix != NO_PREFIX else 0
        self.written = 0
        self.unread = 0
        self.own = 0
        self.joined_at = 0
        self.released = NEVER
        self.admitted = NEVER
        self.first = NEVER
        self.handed = NEVER
        self.finished = NEVER
        self.lost = 0
        self.preemptions = 0

    @property
    def to_read(self) -> int:
        """Own tokens that an instance which has only the prefix must read: the prompt, and what was already written."""
        return self.prompt + self.written - self.prefix_tokens

    @property
    def held(self) -> int:
        """Tokens of keys and values once all is read: the last token written has none yet."""
        return self.prompt + self.written - 1
