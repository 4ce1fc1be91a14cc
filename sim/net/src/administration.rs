//! What an administrator, or a fault, may do to the network: addresses and names, links, partitions, settings.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use corral_core::MachineId;

use crate::faults::{DegradationId, DegradationSpec, PartitionId, PartitionSpec, Selector};
use crate::links::{LinkProfile, Links};
use crate::net::{Net, Statistics};
use crate::settings::TcpSettings;

impl Net {
    // ---- addresses and names

    /// Gives an address to a machine: its own, or one of a pod on it. An address that is another machine's moves;
    /// its sockets do not.
    pub fn add_address(self: &Arc<Self>, address: Ipv4Addr, machine: MachineId) {
        self.turn(|turn| {
            if turn.state.addresses.machine(address).is_some_and(|before| before != machine) {
                turn.address_removed(address);
            }
            turn.state.addresses.add(address, machine);
            turn.state.version += 1;
        });
    }

    /// Takes an address away, with all its sockets: no packet leaves it any more, and those for it are answered "host unreachable".
    pub fn remove_address(self: &Arc<Self>, address: Ipv4Addr) {
        self.turn(|turn| turn.address_removed(address));
    }

    /// Lets a name stand for these addresses.
    pub fn set_name(self: &Arc<Self>, name: &str, addresses: Vec<Ipv4Addr>) {
        self.turn(|turn| turn.state.names.set(name, addresses));
    }

    /// Forgets a name.
    pub fn remove_name(self: &Arc<Self>, name: &str) {
        self.turn(|turn| turn.state.names.remove(name));
    }

    /// Says at which address the name server is: a machine that is cut off from it looks up no names. As long as none is set, every machine is answered.
    pub fn set_name_server(self: &Arc<Self>, address: Ipv4Addr) {
        self.turn(|turn| turn.state.names.server = Some(address));
    }

    /// Makes name look-ups on a machine fail, or work again.
    pub fn set_names_available(self: &Arc<Self>, machine: MachineId, available: bool) {
        self.turn(|turn| turn.state.names.set_available(machine, available));
    }

    /// Sets the time a name look-up takes.
    pub fn set_name_latency(self: &Arc<Self>, latency: corral_core::Latency) {
        self.turn(|turn| turn.state.names.latency = latency);
    }

    /// On this machine, a new connection to this virtual address and port goes to one of the backends, drawn when it is made; with none
    /// it is refused. What kube-proxy does.
    pub fn set_service(
        self: &Arc<Self>,
        machine: MachineId,
        virtual_address: Ipv4Addr,
        port: u16,
        backends: Vec<SocketAddrV4>,
    ) {
        self.turn(|turn| turn.state.names.set_service(machine, virtual_address, port, backends));
    }

    /// Forgets a port of a virtual address.
    pub fn remove_service(self: &Arc<Self>, machine: MachineId, virtual_address: Ipv4Addr, port: u16) {
        self.turn(|turn| turn.state.names.remove_service(machine, virtual_address, port));
    }

    // ---- links

    /// Sets what every link between two machines is that has no profile of its own.
    pub fn set_default_link(self: &Arc<Self>, profile: LinkProfile) {
        self.change_links(|links| links.between = profile);
    }

    /// Sets what the traffic between pods of one machine is, if the machine has no profile of its own.
    pub fn set_default_link_within_machine(self: &Arc<Self>, profile: LinkProfile) {
        self.change_links(|links| links.within = profile);
    }

    /// Sets what the traffic within a pod is.
    pub fn set_loopback_link(self: &Arc<Self>, profile: LinkProfile) {
        self.change_links(|links| links.loopback = profile);
    }

    /// Sets one direction between two machines or addresses. Of several that match, the one set last wins.
    pub fn set_link(self: &Arc<Self>, from: impl Into<Selector>, to: impl Into<Selector>, profile: LinkProfile) {
        self.change_links(|links| links.set(from.into(), to.into(), profile));
    }

    fn change_links(self: &Arc<Self>, change: impl FnOnce(&mut Links)) {
        self.turn(|turn| {
            change(&mut turn.state.links);
            turn.state.version += 1;
        });
    }

    // ---- faults

    /// Cuts the wire.
    pub fn partition(self: &Arc<Self>, spec: PartitionSpec) -> PartitionId {
        self.turn(|turn| {
            let id = turn.state.faults.partition(spec);
            turn.something_broke();
            id
        })
    }

    /// Ends a partition; false if it had ended. What was held up comes with its next retransmission.
    pub fn heal(self: &Arc<Self>, id: PartitionId) -> bool {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.heal(id)
        })
    }

    /// Makes links worse.
    pub fn degrade(self: &Arc<Self>, spec: DegradationSpec) -> DegradationId {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.degrade(spec)
        })
    }

    /// Ends a degradation; false if it had ended.
    pub fn restore(self: &Arc<Self>, id: DegradationId) -> bool {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.restore(id)
        })
    }

    /// Ends all partitions and degradations.
    pub fn heal_all(self: &Arc<Self>) {
        self.turn(|turn| {
            turn.state.version += 1;
            turn.state.faults.clear();
        });
    }

    // ---- the rest

    /// The kernels' limits and time-outs.
    pub fn settings(&self) -> TcpSettings {
        self.state().settings
    }

    /// Sets the kernels' limits and time-outs, from now on.
    pub fn set_settings(&self, settings: TcpSettings) {
        self.state().settings = settings;
    }

    /// How much went on so far.
    pub fn statistics(&self) -> Statistics {
        let state = self.state();
        Statistics { connections: state.connections.len(), listeners: state.listeners.len(), ..state.statistics }
    }
}
