//! Besides what is made by its API, it knows one temporary credential that has expired: ASIAEXPIRED / expired / expired.
//! Prints `http://127.0.0.1:PORT` once it answers, and runs until its standard input ends: no orphan when a test dies.

use std::{net::SocketAddr, sync::Arc};

use axum::{Extension, Router};
use chrono::{TimeDelta, Utc};
use fakecloud_core::{
    auth::IamMode,
    dispatch::{dispatch, DispatchConfig},
    multi_account::MultiAccountState,
    registry::ServiceRegistry,
};
use fakecloud_iam::{
    credential_resolver::IamCredentialResolver, iam_service::IamService,
    policy_evaluator::IamPolicyEvaluatorImpl, IamState, StsTempCredential,
};
use fakecloud_kms::{resource_policy::KmsResourcePolicyProvider, KmsService};
use parking_lot::RwLock;
use tokio::net::TcpListener;

const ACCOUNT: &str = "123456789012";
const REGION: &str = "eu-central-1";

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let kms = Arc::new(RwLock::new(MultiAccountState::new(ACCOUNT, REGION, &endpoint)));
    let mut iam_state = MultiAccountState::<IamState>::new(ACCOUNT, REGION, &endpoint);
    let expired = expired_credential();
    iam_state
        .default_mut()
        .sts_temp_credentials
        .insert(expired.access_key_id.clone(), expired);
    let iam = Arc::new(RwLock::new(iam_state));

    let mut services = ServiceRegistry::new();
    services.register(Arc::new(KmsService::new(kms.clone())));
    services.register(Arc::new(IamService::new(iam.clone())));
    let config = DispatchConfig {
        region: REGION.into(),
        account_id: ACCOUNT.into(),
        verify_sigv4: true,
        iam_mode: IamMode::Strict,
        credential_resolver: Some(IamCredentialResolver::shared(iam.clone())),
        policy_evaluator: Some(IamPolicyEvaluatorImpl::shared(iam)),
        resource_policy_provider: Some(KmsResourcePolicyProvider::shared(kms)),
        scp_resolver: None,
    };
    let app = Router::new()
        .fallback(dispatch)
        .layer(Extension(Arc::new(services)))
        .layer(Extension(Arc::new(config)))
        .into_make_service_with_connect_info::<SocketAddr>();

    println!("{endpoint}");
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    axum::serve(listener, app).await
}

fn expired_credential() -> StsTempCredential {
    let issued_at = Utc::now() - TimeDelta::hours(2);
    StsTempCredential {
        access_key_id: "ASIAEXPIRED".into(),
        secret_access_key: "expired".into(),
        session_token: "expired".into(),
        principal_arn: format!("arn:aws:sts::{ACCOUNT}:assumed-role/expired/session"),
        user_id: "AROAEXPIRED:session".into(),
        account_id: ACCOUNT.into(),
        expiration: issued_at + TimeDelta::hours(1),
        session_policies: Vec::new(),
        mfa_present: false,
        issued_at,
        federated_provider: None,
    }
}
