//! Blobs by digest: written by streaming, named once they are whole and on disk.
