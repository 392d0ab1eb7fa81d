//! Start order, control loop and stop order of the gateway; the only file that starts owners.
