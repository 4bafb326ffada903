"""Finding wrong boxes of 3D detectors: real outputs on real annotations of KITTI."""
