//! Bounds on what a device sends: a token bucket in the kernel's traffic control.
//!
//! Invariant: the bound is of one direction, that in which the device sends.
//! Absent on purpose: taking a bound away; it goes with its device.

use dhow_sys::{NetlinkError, NetlinkRequest};

use super::{Links, NLM_F_CREATE};

const NLM_F_REPLACE: i32 = 0x100;
const RTM_NEWQDISC: u16 = 36;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TC_H_ROOT: u32 = 0xffff_ffff;
const TC_LINKLAYER_ETHERNET: u8 = 1;
/// What may leave at once: a tenth of a second's worth, and never less than the largest joined packet.
const BURST_PART: u64 = 10;
const BURST_BYTES_MIN: u64 = 128 * 1024;

impl Links {
    /// Bounds what a device sends, in bytes a second.
    pub(crate) fn bound(&mut self, index: u32, bytes_per_s: u64) -> Result<(), NetlinkError> {
        let burst = u32::try_from((bytes_per_s / BURST_PART).max(BURST_BYTES_MIN));
        let burst = burst.unwrap_or(u32::MAX);
        // struct tcmsg: family, padding, device, handle, parent, info.
        let mut header = [0; 20];
        header[4..8].copy_from_slice(&index.to_ne_bytes());
        header[12..16].copy_from_slice(&TC_H_ROOT.to_ne_bytes());
        // struct tc_tbf_qopt: rate and peak rate (12 bytes each), limit, buffer, mtu.
        let mut parameters = [0; 36];
        parameters[1] = TC_LINKLAYER_ETHERNET;
        let rate = u32::try_from(bytes_per_s).unwrap_or(u32::MAX);
        parameters[8..12].copy_from_slice(&rate.to_ne_bytes());
        let limit = burst.saturating_mul(2);
        parameters[24..28].copy_from_slice(&limit.to_ne_bytes());
        let request = NetlinkRequest::new(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, &header)
            .attribute(TCA_KIND, b"tbf\0")
            .nested(TCA_OPTIONS, |options| {
                let options = options
                    .attribute(TCA_TBF_PARMS, &parameters)
                    .attribute(TCA_TBF_BURST, &burst.to_ne_bytes());
                match u32::try_from(bytes_per_s) {
                    Ok(_) => options,
                    Err(_) => options.attribute(TCA_TBF_RATE64, &bytes_per_s.to_ne_bytes()),
                }
            });
        self.socket.tell([request])
    }
}
