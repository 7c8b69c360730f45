"""A copy of this Debian that nothing gets out of."""

import subprocess
from pathlib import Path

LIMIT = 60


class Machine:
    """The same files as here, with changes of its own, and processes that end with it; on request a network of its own, too."""

    def __init__(self, folder, own_network=False):
        self.root = folder / "root"
        for name in ("root", "changes", "work"):
            (folder / name).mkdir()
        steps = [
            f"mount -t overlay overlay -o lowerdir=/,upperdir={folder}/changes,workdir={folder}/work {self.root}",
            f"mount -t proc proc {self.root}/proc",
            f"mount --rbind /dev {self.root}/dev",
            f"mount -t tmpfs tmpfs {self.root}/run",
            *(["ip link set lo up"] if own_network else []),
            "echo mounted",
            "exec sleep 100000",
        ]
        # What is mounted there is nobody else's, and goes with the last process in it.
        spaces = ["--mount", "--pid", *(["--net"] if own_network else [])]
        command = ["unshare", *spaces, "--fork", "--kill-child", "sh", "-c", " && ".join(steps)]
        self.keeper = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.keeper.stdout.readline() == "mounted\n"
        children = Path(f"/proc/{self.keeper.pid}/task/{self.keeper.pid}/children")
        # A process that is in it, by its number here.
        self.inside = children.read_text().split()[0]
        self.command = [
            "nsenter",
            "--target",
            self.inside,
            *spaces,
            "chroot",
            self.root,
            "/bin/sh",
            "-c",
        ]
        self.run(
            "mkdir -p /run/systemd/system /run/lock"
            " && rm -f /usr/sbin/policy-rc.d /usr/bin/systemctl /bin/systemctl"
        )
        self.write("/usr/bin/systemctl", (Path(__file__).parent / "systemctl").read_text())
        self.run("chmod 755 /usr/bin/systemctl")

    def enter(self, command, **options):
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {"PATH": path, "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        return subprocess.run(
            [*self.command, command],
            capture_output=True, text=True, timeout=5 * LIMIT, env=environment, **options,
        )  # fmt: skip

    def run(self, command):
        """What root gets who enters this; it has to go well."""
        done = self.enter(command)
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
        return done.stdout

    def write(self, path, text):
        assert self.enter(f"cat >{path}", input=text).returncode == 0

    def within(self, space, *command):
        """Has a program of this machine do something in one of that one's spaces, like `mount`."""
        entered = ["nsenter", "--target", self.inside, f"--{space}", *command]
        subprocess.run(entered, check=True, timeout=LIMIT)

    def bind(self, source, target):
        """Has a file or folder of this machine be at some place in that one."""
        make = f"mkdir -p {target}" if Path(source).is_dir() else f"install -D /dev/null {target}"
        self.run(make)
        self.within("mount", "mount", "--bind", source, f"{self.root}{target}")

    def open_to_all(self, program):
        """Lets users other than root reach a program, wherever it really is."""
        named = Path(program)
        # The folder of an environment may be a link, and so may the interpreter in it.
        for path in (named, named.parent.resolve() / named.name, named.resolve()):
            self.run(f"chmod o+x {' '.join(map(str, path.parents))}")

    def end(self):
        self.keeper.kill()
        self.keeper.wait()
