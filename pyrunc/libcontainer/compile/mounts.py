"""The configuration's mounts, in listed order."""

from __future__ import annotations

import errno

from ..._generated import steps
from ...errors import PyruncError
from ...paths import clean
from ..kernel.constants import (
    MOUNT_ATTR_ATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
)
from ..spec import mount_options
from ..spec.mount_options import COPY_SYMLINK, LINK_OPTIONS, SOURCE_ITSELF, SOURCE_KEPT
from . import cgroup
from .mount import OWN_DATA, Mount, in_rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..spec.mount_options import MountOptions
    from .context import Context

# Options of file systems that the conformance suite of runtime-tools gives bind mounts (validation/mounts). They have
# no effect there, with a warning. Any other option with a value is refused, as by runc since 1.2.
_WITHOUT_EFFECT = ("mode", "size")

# The options of file systems that ignore unknown options (ramfs_parse_param in fs/ramfs/inode.c, debugfs_parse_param,
# tracefs_parse_param): the kernel would ignore an option that limits something.
_KNOWN_TO_SILENT = {
    "ramfs": ("mode",),
    "debugfs": ("uid", "gid", "mode", "source"),
    "tracefs": ("uid", "gid", "mode", "source"),
}

# Register 0: the mount is not kept for a later step. The registers are 1 to 64 (csrc/init/common.h); the last one is
# for the steps directly after.
_NOT_KEPT = 0
_REGISTERS = 63
_NEXT_STEP = 64


def parse_mounts(context: Context) -> list[Mount]:
    """The spec's mounts, checked.

    Raises PyruncError with the pointer of an option that a mount of this type can't have.
    """
    mounts = []
    for index, entry in enumerate(context.spec.get("mounts") or ()):
        mount = Mount(index, entry)
        if mount.is_bind:
            _check_bind(mount, context)
        else:
            _check_file_system(mount, context)
        mounts.append(mount)
    return mounts


def binds_dev(mounts: list[Mount]) -> bool:
    """Whether the configuration binds its own /dev: then nothing is made in it, as with runc."""
    return any([mount.is_bind and "/dev" in mount.target and clean(mount.target) == "/dev" for mount in mounts])


def open_sources(context: Context, mounts: list[Mount]) -> None:
    """Open the sources of bind mounts on the host. The init needs these descriptors if its user namespace can't reach a
    source, and an update of a running container needs them because its mount namespace has no mounts of the host.

    Only a privileged runtime can do it, and only then it makes a difference: a rootless runtime is the same user as
    init.
    """
    if any([mount.id_map for mount in mounts]):
        from . import idmaps

        idmaps.open_sources(context, mounts)
    if not context.is_update and (not context.userns or context.facts.euid != 0):
        return
    for mount in mounts:
        if mount.is_bind and not mount.options.remount and not mount.id_map and not in_rootfs(context, mount):
            context.runtime_step(
                steps.open_source(
                    slot=f"source:{mount.index}",
                    path=context.from_bundle(mount.source),
                    recursive=mount.options.bind == 2,
                    nofollow=bool(mount.options.links & SOURCE_ITSELF),
                ),
                pointer=mount.pointer and mount.pointer + "/source",
            )


def compile_mounts(context: Context, mounts: list[Mount]) -> list[Mount]:
    """Add the steps of the mounts. Returns the mounts that become read-only later, in the order of their registers."""
    kept: list[Mount] = []
    for mount in mounts:
        if mount.options.remount:
            _remount(context, mount)
        elif mount.is_bind:
            _bind(context, mount)
        elif mount.type == "cgroup2":
            _cgroup(context, mount)
        else:
            _file_system(context, mount, kept)
    return kept


def _refuse_option(mount: Mount, option: tuple[int, str], message: str) -> PyruncError:
    """The error for an option that the mount can't have, with the option that was probably meant."""
    index, word = option
    near = _nearest(word)
    return PyruncError(
        f'{message}: "{word}"',
        pointer=f"{mount.pointer}/options/{index}",
        hint=f'did you mean "{near}"?' if near else "an option of the file system is for the mount that makes it",
    )


def _nearest(word: str) -> str:
    """The option that was probably meant; "" if none is near, or without jsonschema."""
    from ..spec.nearest import SYNONYMS

    if word in SYNONYMS:
        return SYNONYMS[word]
    try:
        from ..spec.explain import nearest
    except ImportError:
        return ""
    return nearest(word, mount_options.KNOWN_OPTIONS)


def _check_bind(mount: Mount, context: Context) -> None:
    options = mount.options
    if options.data or options.superblock:
        _check_without_effect(mount, context)
    if not mount.source and not options.remount:
        at = mount.pointer + "/source"
        raise PyruncError("bind mount has no source", pointer=at, hint="name what is to be bound")
    if options.links:
        _check_links(mount)
    if options.copy_up:
        raise _copy_up_error(mount)


def _check_without_effect(mount: Mount, context: Context) -> None:
    """Refuse options of file systems for a bind mount, or warn of them."""
    options = mount.options
    for option in options.data:
        name, equals, _ = option[1].partition("=")
        if not equals or name not in _WITHOUT_EFFECT:
            # Wording of runc since 1.2. An option without a value may be a misspelt flag: what it should forbid would
            # be allowed.
            raise _refuse_option(mount, option, "bind mounts cannot have any filesystem-specific options applied")
    for word in (*options.superblock.values(), *(word for _, word in options.data)):
        context.warnings.append(f"{mount.pointer}/options: {word} has no effect on a bind mount")


def _check_links(mount: Mount) -> None:
    """Only a new bind mount can have the options about symlinks. copy-symlink excludes the others, as with crun."""
    options = mount.options
    problem = hint = ""
    if not mount.is_bind or options.remount:
        problem = f"{', '.join(LINK_OPTIONS)} are options of bind mounts"
        hint = "leave them out"
    elif options.links & COPY_SYMLINK and options.links != COPY_SYMLINK:
        problem = f"copy-symlink excludes {', '.join(word for word in LINK_OPTIONS if word != 'copy-symlink')}"
        hint = "a symlink is either copied or mounted"
    if problem:
        raise PyruncError(problem, pointer=mount.pointer + "/options", hint=hint)


def _copy_up_error(mount: Mount) -> PyruncError:
    at = mount.pointer + "/options"
    return PyruncError("only a tmpfs can have tmpcopyup", pointer=at, hint="leave the option out")


def _check_file_system(mount: Mount, context: Context) -> None:
    options = mount.options
    if options.copy_up and mount.type != "tmpfs":
        raise _copy_up_error(mount)
    if options.links:
        _check_links(mount)
    if mount.type in _KNOWN_TO_SILENT and not options.remount:
        for option in options.data:
            if option[1].partition("=")[0] not in _KNOWN_TO_SILENT[mount.type]:
                raise _refuse_option(mount, option, f"{mount.type} ignores this option")
    if options.remount:
        if options.data or options.superblock:
            raise PyruncError(
                "remount changes the flags of the mount only, not the options of its file system",
                pointer=mount.pointer + "/options",
                hint="give them where the file system is mounted",
            )
    elif _knows_ids(context):
        for index, word in options.data:
            _check_owner(mount, index, word, context)


def _knows_ids(context: Context) -> bool:
    """Whether the runtime knows which ids are mapped in the user namespace of the mounts: a new one, or its own, if it
    is not the host's root. The mounts of the host's root are left to the kernel, as with runc."""
    facts = context.facts
    return (facts.euid != 0 or facts.in_userns) and (context.new("user") or not context.userns)


def _check_owner(mount: Mount, index: int, word: str, context: Context) -> None:
    """Refuse ids of uid= and gid= that are not mapped in the user namespace of the mount: the kernel's EINVAL says
    less."""
    kind, _, value = word.partition("=")
    if kind not in ("uid", "gid") or not value.isdigit():
        return
    if context.userns:
        ranges = [(entry["containerID"], entry["size"]) for entry in context.mappings(kind)]
    else:
        outer = context.facts.uid_map if kind == "uid" else context.facts.gid_map
        ranges = [(first, size) for first, _, size in outer]
    if any(first <= int(value) < first + size for first, size in ranges):
        return
    # Wording of runc.
    raise PyruncError(
        f"cannot specify {word} mount option for rootless container: {kind} {value} is not in the {kind} mappings",
        pointer=f"{mount.pointer}/options/{index}",
        hint=f"map {kind} {value}, or leave {word} out",
    )


def _remount(context: Context, mount: Mount) -> None:
    """Replace the flags of an existing mount by those that are named, as mount(2) does.

    In a user namespace some flags may be locked: the alternative leaves those unchanged that no option names.
    """
    options = mount.options
    first, *more = options.propagation or (0,)
    unlocked, locked = options.replaced_clr(False), options.replaced_clr(True)
    alternatives = [unlocked]
    if (context.userns or context.facts.in_userns) and locked != unlocked:
        alternatives.append(locked)
    for level, cleared in enumerate(alternatives):
        context.init_step(
            steps.remount(
                target=mount.target,
                attr_set=options.attr_set,
                attr_clr=options.attr_clr | cleared,
                rattr_set=options.rattr_set,
                rattr_clr=options.rattr_clr,
                propagation=first,
            ),
            pointer=mount.pointer,
            fallback_level=level,
            on_errno=(errno.EPERM,) if level + 1 < len(alternatives) else (),
        )
    if more:
        _more_propagation(context, mount, more)


def _more_propagation(context: Context, mount: Mount, more: list[int]) -> None:
    """Add the propagation types besides the first, which need a call each."""
    for flag in more:
        context.init_step(steps.remount(target=mount.target, propagation=flag), pointer=mount.pointer + "/options")


def _bind(context: Context, mount: Mount) -> None:
    """Add a bind mount."""
    options = mount.options
    if context.userns or context.facts.in_userns or context.is_update or mount.id_map:
        _bind_alternatives(context, mount)
        return
    first, *more = options.propagation or (0,)
    context.init_step(
        steps.bind(
            source=context.from_bundle(mount.source),
            source_fd=None,
            target=mount.target,
            recursive=options.bind == 2,
            links=options.links,
            attr_set=options.attr_set,
            attr_clr=options.attr_clr | options.implied_clr[False],
            rattr_set=options.rattr_set | _sealed(context, mount),
            rattr_clr=options.rattr_clr,
            propagation=first,
            keep=_NOT_KEPT,
        ),
        pointer=mount.pointer,
    )
    if more:
        _more_propagation(context, mount, more)


def _bind_alternatives(context: Context, mount: Mount) -> None:
    """Add a bind mount whose source the runtime opens, or with the alternatives that a user namespace makes necessary.

    In a user namespace, the container's or the runtime's own, flags of the source may be locked. So a separate step,
    which may fail, clears flags and sets access times. If the container's user can't reach the source, the runtime's
    descriptor is used. It is the second choice, because a mount of it has no locked flags. A source without the mounts
    below it can't be bound if that would uncover what a locked mount covers: then it is bound with them.
    """
    options = mount.options
    first, *more = options.propagation or (0,)
    inside = in_rootfs(context, mount)
    by_descriptor = bool(mount.id_map) or context.is_update
    by_descriptor = by_descriptor or (context.userns and context.facts.euid == 0 and not inside)
    if by_descriptor and (not first & MS_REC or first & MS_SHARED):
        # The mount that the runtime opened is a peer of the host's mount: mounts in it must not propagate to the host.
        first, more = MS_SLAVE | MS_REC, options.propagation
    if mount.id_map and inside:
        _map_inside(context, mount)
    wanted = _BindFlags(options, _sealed(context, mount))
    locks = (context.userns and not context.is_update) or context.facts.in_userns
    late = wanted.refusable() if locks else None
    links = options.links | (SOURCE_KEPT if mount.id_map and inside else 0)
    keep = _NEXT_STEP if late or links & SOURCE_KEPT else _NOT_KEPT
    choices = _bind_choices(context, mount, None if inside else f"source:{mount.index}", by_descriptor)
    for level, (on_errno, cleared, slot, is_tree) in enumerate(choices):
        context.init_step(
            steps.bind(
                source=context.from_bundle(mount.source),
                source_fd=slot,
                target=mount.target,
                recursive=options.bind == 2 or is_tree,
                links=links,
                attr_set=wanted.attr_set,
                attr_clr=wanted.attr_clr | cleared,
                rattr_set=wanted.rattr_set | (wanted.attr_set if is_tree else 0),
                rattr_clr=wanted.rattr_clr,
                propagation=first,
                keep=keep,
            ),
            pointer=mount.pointer,
            fallback_level=level,
            on_errno=on_errno,
        )
    if late:
        _change_flags(context, mount, late)
    if more:
        _more_propagation(context, mount, more)


def _bind_choices(
    context: Context, mount: Mount, slot: str | None, by_descriptor: bool
) -> list[tuple[tuple[int, ...], int, str | None, bool]]:
    """The alternatives of a bind mount, in the order of their fallback levels.

    Each has the errnos after which the next one is tried, the flags to clear besides the named ones, the slot of the
    source (None: the init opens it), and whether the mounts below the source are included although no option says so.
    """
    covers = () if mount.options.bind == 2 else (errno.EINVAL,)
    unlocked, locked = mount.options.implied_clr
    if mount.id_map:
        return [((), locked if context.userns else unlocked, slot, False)]
    if context.is_update:
        # A mount that the host's root opened has no locked flags. For a runtime in a user namespace flags may be
        # locked.
        return [((), locked if context.facts.in_userns else unlocked, slot, False)]
    if by_descriptor:
        return [((errno.EACCES, *covers), locked, None, False), ((), locked, slot, False)]
    choices: list[tuple[tuple[int, ...], int, str | None, bool]] = [(covers, locked, None, False)]
    if covers:
        choices.append(((), locked, None, True))
    if not context.userns and unlocked != locked:  # the runtime's own user namespace
        choices.insert(0, ((errno.EPERM, *covers), unlocked, None, False))
    return choices


def _change_flags(context: Context, mount: Mount, late: tuple[int, int, int, int]) -> None:
    """Change flags that may be locked, or warn that they are. The container runs all the same, because engines name
    `rw` for every volume. Locked flags are stricter than the configuration, never looser."""
    what = f"locked:{mount.index}"
    attr_set, attr_clr, rattr_set, rattr_clr = late
    context.init_step(
        steps.change_flags(
            keep=_NEXT_STEP, attr_set=attr_set, attr_clr=attr_clr, rattr_set=rattr_set, rattr_clr=rattr_clr
        ),
        pointer=mount.pointer + "/options",
        on_errno=(errno.EPERM,),
    )
    context.on_request(
        what,
        steps.warn_locked(path=context.from_bundle(mount.source), attr_clr=attr_clr | rattr_clr),
        pointer=mount.pointer,
    )
    context.init_step(steps.request(what=what), pointer=mount.pointer, fallback_level=1)


def _map_inside(context: Context, mount: Mount) -> None:
    """Have the runtime map the ids of a source in the container's rootfs. The init opens it at its turn, after the
    mounts before it, and sends the descriptor to the runtime."""
    from . import idmaps

    what = f"map:{mount.index}"
    idmaps.serve_map(context, mount, what)
    source, recursive = context.from_bundle(mount.source), mount.options.bind == 2
    context.init_step(
        steps.open_inside(source=source, recursive=recursive, links=mount.options.links, what=what, keep=_NEXT_STEP),
        pointer=mount.pointer,
    )


class _BindFlags:
    """The MOUNT_ATTR_* of a bind mount: set and cleared first on the whole tree, then on the mount itself."""

    __slots__ = ("attr_clr", "attr_set", "rattr_clr", "rattr_set")

    def __init__(self, options: MountOptions, sealed: int) -> None:
        self.attr_set = options.attr_set
        self.attr_clr = options.attr_clr
        self.rattr_set = options.rattr_set | sealed
        self.rattr_clr = options.rattr_clr

    def refusable(self) -> tuple[int, int, int, int] | None:
        """Take out the changes that the kernel refuses for locked flags (mount_namespaces(7)): cleared flags other than
        nosymfollow, and access times.

        Returns them as (attr_set, attr_clr, rattr_set, rattr_clr); None for none.
        """
        times = MOUNT_ATTR_ATIME | MOUNT_ATTR_NODIRATIME
        cleared = ~MOUNT_ATTR_NOSYMFOLLOW
        late = (self.attr_set & times, self.attr_clr & cleared, self.rattr_set & times, self.rattr_clr & cleared)
        self.attr_set &= ~times
        self.attr_clr &= ~cleared
        self.rattr_set &= ~times
        self.rattr_clr &= ~cleared
        return late if any(late) else None


def _sealed(context: Context, mount: Mount) -> int:
    """The flags for all mounts below a rootless container's bind of /sys, or of a directory above the cgroups in it.

    "ro" is a flag of one mount, so /sys/fs/cgroup stayed writable, which has cgroups of the user (CVE-2023-25809).
    """
    if not context.rootless or mount.options.bind != 2 or not mount.options.attr_set & MOUNT_ATTR_RDONLY:
        return 0
    source = clean(context.from_bundle(mount.source))
    return MOUNT_ATTR_RDONLY if source in ("/sys", "/sys/fs", "/sys/fs/cgroup") else 0


def _data(context: Context, mount: Mount) -> tuple[str, ...]:
    """The options for fsconfig: flags of the file system, then its own options."""
    options = mount.options
    words = list(options.superblock.values())
    if options.of_new & MOUNT_ATTR_RDONLY and mount.type not in OWN_DATA:
        words.append("ro")
    words += options.settings
    if mount.type == "overlay":
        from . import overlay

        words = overlay.split_layers(words, context.facts.kernel)
    label = context.linux.get("mountLabel")
    if label:
        from . import labels

        kind = context.annotated("run.oci.mount_context_type")
        words.extend(labels.mount_option(label, mount.type, words, kind))
    return tuple(words)


def _mount(context: Context, mount: Mount, attr_set: int, keep: int, on_errno: tuple[int, ...]) -> list[int]:
    """Add the step `mount`. Returns the propagation types that need further calls."""
    options = mount.options
    first, *more = options.propagation or (0,)
    context.init_step(
        steps.mount(
            fstype=mount.type,
            source=mount.source or mount.type,
            target=mount.target,
            options=_data(context, mount),
            attr_set=attr_set,
            propagation=first,
            copyup=options.copy_up,
            keep=keep,
        ),
        pointer=mount.pointer,
        on_errno=on_errno,
    )
    return more


def _file_system(context: Context, mount: Mount, kept: list[Mount]) -> None:
    attr_set = mount.options.of_new
    keep = _NOT_KEPT
    on_errno: tuple[int, ...] = ()
    if attr_set & MOUNT_ATTR_RDONLY and (mount.type == "tmpfs" or clean(mount.target) == "/dev"):
        # The targets of later mounts and the devices are made in it, so it becomes read-only last, as with runc.
        keep = len(kept) + 1
        if keep > _REGISTERS:
            message = f"more than {_REGISTERS} read-only tmpfs mounts"
            raise PyruncError(message, pointer=mount.pointer, hint="leave some of them writable")
        kept.append(mount)
        attr_set &= ~MOUNT_ATTR_RDONLY
    if mount.type == "sysfs" and (context.userns or context.facts.in_userns):
        on_errno = (errno.EPERM,)
    more = _mount(context, mount, attr_set, keep, on_errno)
    if on_errno:
        _bind_sysfs(context, mount)
    if mount.type == "mqueue" and context.linux.get("mountLabel"):
        from . import labels

        labels.label_queues(context, mount.target)
    if more:
        _more_propagation(context, mount, more)


def _bind_sysfs(context: Context, mount: Mount) -> None:
    """Bind the host's /sys: a user namespace that does not own its network namespace may not mount sysfs.

    It is bound with the mounts below it, because those are locked, and all of them are read-only: it shows the host's
    devices, and the mounts below it show cgroups of the runtime's user (CVE-2023-25809).
    """
    flags = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    first, *_ = mount.options.propagation or (0,)
    context.init_step(
        steps.bind(
            source="/sys", target=mount.target, recursive=True, rattr_set=flags, propagation=first, keep=_NOT_KEPT
        ),
        pointer=mount.pointer,
        fallback_level=1,
    )


def _cgroup(context: Context, mount: Mount) -> None:
    """Mount cgroup2. The alternative is a bind of the host's mount, because the kernel refuses cgroup2 in a user
    namespace that does not own the cgroup namespace, and if cgroup v1 occupies the hierarchy. If a rootless container
    can't reach that either, the directory is masked."""
    source = cgroup.bind_source(context)
    on_errno = (errno.EPERM, errno.EBUSY) if source or context.rootless else ()
    attributes = mount.options.of_new
    if cgroup.shows_the_hosts(context) and not attributes & MOUNT_ATTR_RDONLY:
        # CVE-2023-25809: the container must not write to cgroups that are not its own.
        attributes |= MOUNT_ATTR_RDONLY
        context.warnings.append(f"{mount.pointer}: mounted read-only, since it shows cgroups that are the host's")
    more = _mount(context, mount, attributes, _NOT_KEPT, on_errno)
    if source:
        hidden = (errno.ENOENT,) if context.rootless else ()
        context.init_step(
            steps.bind_cgroup(source=source, target=mount.target, attr_set=attributes),
            pointer=mount.pointer,
            fallback_level=1,
            on_errno=hidden,
        )
    if context.rootless:
        # CVE-2023-25809: the bound /sys would show the host's cgroups.
        context.init_step(steps.mask_path(path=mount.target), pointer=mount.pointer, fallback_level=2 if source else 1)
    if more:
        _more_propagation(context, mount, more)
