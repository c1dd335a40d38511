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

async fn given(node: &Arc<Node>, request: &InitProducerIdRequest) -> Result<(i64, i16), ErrorCode> {
    if request.transactional_id.is_some() {
        return Err(ErrorCode::TransactionalIdAuthorizationFailed);
    }
    let (id, epoch) = (request.producer_id, request.producer_epoch);
    if (id < 0) != (epoch < 0) {
        return Err(ErrorCode::InvalidRequest);
    }
    // A producer that lost track goes on under its next epoch, as long as there is one. With an id that nobody was
    // given here it gets one of ours: the real owner of that id, who may be still to come, would be fenced by it.
    let goes_on = (0..i16::MAX - 1).contains(&epoch);
    if goes_on && node.producer_ids.was_given(id, &node.metadata).await {
        return Ok((id, epoch + 1));
    }
    match node.producer_ids.next(&node.metadata).await {
        Ok(id) => Ok((id, 0)),
        Err(error) => Err(failure::of(&error.into())),
    }
}
