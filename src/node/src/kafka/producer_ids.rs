//! InitProducerId: ids for idempotent producers.

use std::sync::Arc;

use tidelog_proto::kafka::ErrorCode;
use tidelog_proto::kafka::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};

use super::failure;
use crate::node::Node;

pub(super) async fn init(node: &Arc<Node>, request: InitProducerIdRequest) -> InitProducerIdResponse {
    match given(node, &request).await {
        Ok((producer_id, producer_epoch)) => {
            InitProducerIdResponse { producer_id, producer_epoch, ..InitProducerIdResponse::default() }
        }
        Err(code) => InitProducerIdResponse { error_code: code.into(), ..InitProducerIdResponse::default() },
    }
}

async fn given(node: &Node, request: &InitProducerIdRequest) -> Result<(i64, i16), ErrorCode> {
    if request.transactional_id.is_some() {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    match (request.producer_id, request.producer_epoch) {
        // A producer that lost track goes on under the next epoch, as long as there is one.
        (id @ 0.., epoch @ 0..) if epoch < i16::MAX - 1 => Ok((id, epoch + 1)),
        _ => match node.producer_ids.next(&node.metadata).await {
            Ok(id) => Ok((id, 0)),
            Err(error) => Err(failure::of(&error.into())),
        },
    }
}
