"""The journal: files of frames that outlive their writer."""
