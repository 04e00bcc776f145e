//! Bridges, veths, addresses, NAT, published ports, service proxy and DNS: from plain tables to kernel state.
