"""The broker: an agent behind SCMP_ACT_NOTIFY that carries out selected rare system calls for containers. Cold."""
