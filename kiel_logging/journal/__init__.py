"""The journal: files in which records wait until they are acknowledged.

Here are files, bytes and locks; nothing here knows logging or Kafka. A record is safe as soon as
one ``write(2)`` has put it into a file, and it is numbered when it is read, by the order in the
file. So nothing has to be undone or kept in step in memory, and a reader that starts anew after a
crash gives each record the number that it had before.

On disk
=======

::

    <root>/<instance>/        one writer, 32 hex digits; mode 0700, its files 0600
        owner.lock            held while the writer lives; JSON: {"format": 1, "pid": ...,
                              "ships": whether it sends its records itself}
        shipper.lock          held by the process that sends the records
        <topic>/              one stream
            00000001.log ...  segments: frames, append only
            checkpoint        two slots, at 0 and at 4096
            damaged           bytes that could not be read, for people

A frame (numbers are big endian)::

    magic     4   "KJ", the format (1), 0xC5; other formats differ in their number alone
    length    4   of the body, at most 128 MiB
    checksum  4   CRC-32C of length and body; it starts with the CRC-32C of "instance/topic"
    body:
        kind, key kind, size of the digest (0 or 32)          3 x u8
        level i32 | timestamp i64, in ms | waiter u64 | sequence u64, 0: not numbered
        digest
        key, value                      i32 size, -1: none; bytes
        headers                         i32 count; each u32 and i32 size, -1: none; name, value

    kinds:      1 record, 2 event (a record of the handler's own), 3 state (no record: numbers
                continue behind its sequence, and digests behind its digest, with the key
                that its value names)
    key kinds:  0 none, 1 bytes, 2 text in UTF-8, 3 a number in decimal digits

In the body a 0 is inserted behind each ``"KJ" 1``, and taken out when it is read.

A slot of the checkpoint::

    counter | segment | offset | sequence    4 x u64; the valid slot with the larger counter counts
    digest 32 | ended u8 | key 8
    size u16, of the refusals before the position; each of them: begin and end, each a segment and
        an offset, 4 x u64 | size u8 and text of the reason, no text: that of the one before
    CRC-32C u32                              which starts as those of the frames

Invariants
==========

Frames
    1. A magic is never inside a frame, because of the inserted 0. So after damage the next magic
       is the next frame, a logged copy of a frame is never taken for one, and reading takes linear
       time whatever the bytes are.
    2. Where bytes can't be read, they were either a write cut short, with fewer bytes than it
       declares before the next magic: they are skipped, for the append failed, and take no number.
       Or they were a record, damaged later: they take one number, so the records behind keep
       theirs. One flipped bit costs at most the one record that it hits. (One case looks like the
       other: a write that lacks its last one to three bytes, and the next one cut after as many.)
    3. The end of a segment that can still grow may be the front of a write: a bad checksum means
       "not yet" there. Every other segment is finished, and so is the last of an orphan.

Appending
    4. One ``write(2)`` to a descriptor with O_APPEND, so a signal handler, a ``__del__`` and other
       threads may append at any moment: the frame is there or it is not.
    5. Where the disk takes just the front of a write, the frames in it that are whole are appended.
       The front of the next one stays there. Others may be appended behind it; if none is, the
       shipper starts the next segment, so that its reader does not wait for the rest.
    6. Only the shipper starts the next segment, while no append is under way. It needs no room on
       the disk: the first append makes the file. Where the writer leaves the sending to another
       process, an append starts it: not on top of another one, and not beside one in C. So
       a reader in another process that sees the name of a segment knows that all earlier ones are
       finished; it reads the names first, and then the sizes.
    7. ``write(2)`` goes to the page cache. It survives the end of the process; a power cut only
       behind ``sync()``. It blocks while the kernel throttles a disk that is too slow.

Checkpoint
    8. It is stored by turns in two slots of a file that never grows, which works on a full disk. A
       crash or a flipped bit leaves the other slot, which is merely older: more is sent again, with
       the same numbers.
    9. A segment is removed when both slots are behind it. This makes room, so a full disk empties
       itself.
    10. A checkpoint also passes records that were given up. Where the writer leaves the sending to
        another process, the same slot says which, so a writer that reads it sees both or neither.
        If they are too many for a slot, one range is in place of the oldest of them: it has in it
        records that were acknowledged, and each that was not.

Locks
    11. An instance is an orphan when its ``owner.lock`` is free. One process takes it and
        ``shipper.lock``, sends what is left and removes it. Locks end with their process, and a
        forked child has none. A writer that does not ship never takes ``shipper.lock``: the
        process that has it sends the records while the writer lives, and takes ``owner.lock`` when
        that becomes free.
    12. A directory with another format is left to the release that wrote it.

Users
    13. Where the group of ``<root>`` may write to it, a writer that does not ship lets the group do
        so with all that it makes: mode 2770, files 0660. A process that ships for other users opens
        no file but in a directory of the instance's owner, and none that is a link, a pipe or a
        third user's; so files can harm their owner's streams alone.

A state frame is one that others depend on: append it twice, for one may be damaged. So is the event
behind which a handler's digests have another key; if that is damaged, they keep the old one.
"""
